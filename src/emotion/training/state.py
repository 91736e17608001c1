"""What it takes to go on after a kill, kept in ``last.pth``."""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from emotion import distributed, registry
from emotion.data.examples import Parts
from emotion.errors import UserError, first_line
from emotion.inputs.feature import SOURCE
from emotion.models.checkpoint import describe, load_checkpoint, prune, save_checkpoint
from emotion.models.met import describe_met
from emotion.telling import note
from emotion.training.batch_norm import live_batch_norms
from emotion.training.loop import Engine
from emotion.training.options import TrainOptions
from emotion.training.setup import Task

MAY_CHANGE = {  # flags that may differ when a run goes on: none of them changes a number
    "num_workers",
    "resume",
    "features_dir",
    "logs_dir",
    "device",
    "micro_batch",  # which ``RunState.restore`` looks at
}


@dataclass
class RunState:
    """Progress of a run; ``saved`` is the rest of a loaded last.pth until ``restore``."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best: float = float("inf")  # validation loss of the epochs so far
    saved: dict[str, Any] = field(default_factory=dict)

    def add(self, row: dict[str, Any]) -> bool:
        """Append an epoch; whether it is the best so far."""
        self.history.append(row)
        better = row["valid_loss"] < self.best
        self.best = min(self.best, row["valid_loss"])
        return better

    def restore(self, engine: Engine, micro_batch: str) -> None:
        """Put the saved weights, optimizer, schedule and scaler into a fresh engine.

        A batch is run in parts as before, whatever memory is free now, for batch norms see a part
        at a time; but a number that was given (after a run that took too much) is taken.
        """
        if not self.saved:
            return
        engine.model.load_state_dict(self.saved["model"])
        engine.optimizer.load_state_dict(self.saved["optimizer"])
        engine.schedule.load_state_dict(self.saved["schedule"])
        if engine.scaler:
            engine.scaler.load_state_dict(self.saved["scaler"])
        before = int(self.saved["micro_batch"])
        if micro_batch == "auto":
            engine.micro_batch = before
        elif engine.micro_batch != before and live_batch_norms(engine.model):
            note(
                f"--micro_batch: batch norms see {engine.micro_batch} clips at a time from "
                f"here on, {before} before"
            )
        self.saved = {}


def load_state(folder: Path, options: TrainOptions) -> RunState | None:
    """The state in ``last.pth``; None where there is none yet.

    Raises:
        UserError: the file is damaged, or the run was started with other flags or more or fewer
            processes.
    """
    path = folder / "last.pth"
    if not path.is_file():
        return None
    checkpoint = load_checkpoint(path)
    if checkpoint.training is None:
        raise UserError(f"{path}: holds no training state; remove it to start again")
    try:
        training = dict(checkpoint.training)
        before = dict(training.pop("options"))
        ranks = int(training.pop("world_size", distributed.world_size()))
        state = RunState(
            history=[dict(row) for row in training.pop("history")],
            best=float(training.pop("best")),
            saved={
                "model": checkpoint.model,
                "class_names": checkpoint.class_names,
                "features": checkpoint.features,
                **training,
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error
    if ranks != distributed.world_size():
        raise UserError(
            f"{folder}: was started with {ranks} processes, now there are "
            f"{distributed.world_size()}, which is another batch and another schedule; resume with "
            "as many, or give another --exp_name"
        )
    for name, value in asdict(options).items():
        if name not in MAY_CHANGE and before.get(name, value) != value:
            raise UserError(
                f"{folder}: was started with --{name} {before.get(name)}, now it is {value}; "
                "resume with the same flags, or give another --exp_name"
            )
    return state


def damaged(path: Path, error: Exception) -> UserError:
    """What to say of a last.pth that cannot be gone on from."""
    return UserError(f"{path}: damaged ({first_line(error)[:120]}); remove it to start again")


def check_same_clips(folder: Path, task: Task, state: RunState) -> None:
    """Refuse to go on with a run whose features have changed under it.

    Raises:
        UserError: names what has changed.
    """
    now = {
        "class names": task.class_names,
        "settings of preprocessing": _settings_read(task, task.feature_settings),
        "clips, labels or speakers": fingerprint(task.parts),
    }
    names = ("class_names", "features", "clips")
    for (what, found), name in zip(now.items(), names, strict=True):
        before = state.saved.get(name, found)  # a run of an earlier version does not say
        if name == "features" and isinstance(before, dict):
            before = _settings_read(task, before)
        if before != found:
            told = "" if name == "clips" else f" ({_told(before)}; now {_told(found)})"
            raise UserError(
                f"{folder}: the {what} of {task.store.root} have changed since it was "
                f"trained{told}; give another --exp_name, or remove {folder} to start again"
            )


def _settings_read(task: Task, settings: dict[str, Any]) -> dict[str, Any]:
    """Of the settings of a features folder those that decide what the run reads: features that are
    added to the folder meanwhile are none of its business, but copies of its own are.
    """
    names = {"corpus"}
    for part in task.recipe.parts:
        names |= {*registry.feature(part.feature).settings}
        names |= {*registry.copies_of(part.feature, settings)}
    read = {name: settings.get(name) for name in sorted(names)}
    return {
        name: value | {SOURCE: ""} if isinstance(value, dict) else value
        for name, value in read.items()
    }


def _told(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def fingerprint(parts: Parts) -> str:
    """Of the clips of a run: which part each is in, its labels and its speaker."""
    rows = [
        (part, e.split, e.record.stem, e.integrated, e.face, e.speech, e.record.speaker)
        + ((e.source.corpus,) if e.source else ())
        for part, examples in parts._asdict().items()
        for e in examples
    ]
    return hashlib.sha256(repr(sorted(rows)).encode(errors="surrogateescape")).hexdigest()[:16]


def save_state(
    folder: Path, state: RunState, engine: Engine, task: Task, options: TrainOptions
) -> None:
    """Write ``last.pth``: everything needed to go on."""
    content = _describe(engine.model, task, len(state.history) - 1, {})
    content["training"] = {
        "options": asdict(options),
        "history": state.history,
        "best": state.best,
        "optimizer": engine.optimizer.state_dict(),
        "schedule": engine.schedule.state_dict(),
        "scaler": engine.scaler.state_dict() if engine.scaler else {},
        "micro_batch": engine.micro_batch,
        "world_size": distributed.world_size(),
        "clips": fingerprint(task.parts),
    }
    save_checkpoint(folder / "last.pth", content)


def save_best(
    folder: Path, model: nn.Module, task: Task, epoch: int, metrics: dict[str, float]
) -> None:
    """Write ``<epoch>_best_<valid_loss>.pth`` and prune older ones."""
    path = folder / f"{epoch}_best_{metrics['valid_loss']:.4f}.pth"
    save_checkpoint(path, _describe(model, task, epoch, metrics))
    prune(folder)


def _describe(
    model: nn.Module, task: Task, epoch: int, metrics: dict[str, float]
) -> dict[str, Any]:
    return describe(
        model,
        task.recipe,
        task.class_names,
        task.feature_settings,
        epoch=epoch,
        metrics=metrics,
        met=describe_met(task.parts, task.folds is not None),
    )
