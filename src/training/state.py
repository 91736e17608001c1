"""What it takes to go on after a kill, kept in ``last.pth``."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from src.errors import UserError
from src.training.checkpoint import describe, load_checkpoint, prune, save_checkpoint
from src.training.loop import Engine
from src.training.options import TrainOptions
from src.training.setup import Task, speakers_of

MAY_CHANGE = {  # flags that may differ when a run goes on: none of them changes a number
    "num_workers",
    "resume",
    "overwrite",
    "keep",
    "features_dir",
    "logs_dir",
    "device",
    "threads",
    "patience",
    "micro_batch",
}


@dataclass
class RunState:
    """Progress of a run; ``saved`` is the rest of a loaded last.pth until ``restore``."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = float("inf")
    epochs_without_best: int = 0
    saved: dict[str, Any] = field(default_factory=dict)

    def add(self, row: dict[str, Any]) -> bool:
        """Append an epoch; whether its validation loss is the lowest so far."""
        self.history.append(row)
        better = row["valid_loss"] < self.best_loss
        self.best_loss = row["valid_loss"] if better else self.best_loss
        self.epochs_without_best = 0 if better else self.epochs_without_best + 1
        return better

    def restore(self, engine: Engine) -> None:
        """Put the saved weights, optimizer, schedule and scaler into a fresh engine."""
        if not self.saved:
            return
        engine.model.load_state_dict(self.saved["model"])
        engine.optimizer.load_state_dict(self.saved["optimizer"])
        engine.schedule.load_state_dict(self.saved["schedule"])
        engine.micro_batch = self.saved["micro_batch"]
        if engine.scaler:
            engine.scaler.load_state_dict(self.saved["scaler"])
        if engine.ema is not None:
            engine.ema.load_state_dict(self.saved["ema"])
        self.saved = {}


def load_state(folder: Path, options: TrainOptions) -> RunState | None:
    """The state in ``last.pth``; None where there is none yet.

    Raises:
        UserError: the file is damaged, or the run was started with other flags.
    """
    path = folder / "last.pth"
    if not path.is_file():
        return None
    checkpoint = load_checkpoint(path)
    if checkpoint.training is None:
        raise UserError(f"{path}: holds no training state; give --overwrite True to start again")
    training = dict(checkpoint.training)
    before = training.pop("options")
    for name, value in asdict(options).items():
        if name not in MAY_CHANGE and before.get(name, value) != value:
            raise UserError(
                f"{folder}: was started with --{name} {before.get(name)}, now it is {value}; "
                "resume with the same flags, or give another --exp_name"
            )
    return RunState(
        history=training.pop("history"),
        best_loss=training.pop("best_loss"),
        epochs_without_best=training.pop("epochs_without_best"),
        saved={"model": checkpoint.model, **training},
    )


def save_state(
    folder: Path, state: RunState, engine: Engine, task: Task, options: TrainOptions
) -> None:
    """Write ``last.pth``: everything needed to go on."""
    content = _describe(engine.model, task, len(state.history) - 1, {})
    content["training"] = {
        "options": asdict(options),
        "history": state.history,
        "best_loss": state.best_loss,
        "epochs_without_best": state.epochs_without_best,
        "optimizer": engine.optimizer.state_dict(),
        "schedule": engine.schedule.state_dict(),
        "scaler": engine.scaler.state_dict() if engine.scaler else {},
        "ema": engine.ema.state_dict() if engine.ema is not None else {},
        "micro_batch": engine.micro_batch,
    }
    save_checkpoint(folder / "last.pth", content)


def save_best(
    folder: Path, model: nn.Module, task: Task, epoch: int, metrics: dict[str, float], keep: int
) -> None:
    """Write ``<epoch>_best_<valid_loss>.pth`` and prune older ones."""
    path = folder / f"{epoch}_best_{metrics['valid_loss']:.4f}.pth"
    save_checkpoint(path, _describe(model, task, epoch, metrics))
    prune(folder, keep)


def _describe(
    model: nn.Module, task: Task, epoch: int, metrics: dict[str, float]
) -> dict[str, Any]:
    return describe(
        model,
        task.model_options,
        task.class_names,
        task.feature_settings,
        epoch,
        metrics,
        speakers_of(task.parts.train) if task.folds else (),
    )
