"""One training run, from flags to result.json."""

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from emotion import distributed, recipe, registry
from emotion.data.faults import told_in_one_line
from emotion.data.folds import speakers_by_fold
from emotion.errors import UserError
from emotion.files import refuse_links, remove_partial_files
from emotion.locking import HeldError, only_run_in
from emotion.machine import allow_tf32, threads
from emotion.models.checkpoint import REFIT, best_checkpoint
from emotion.models.devices import choose_device, mixed_precision, parallelise, place
from emotion.models.evaluate import Predictions
from emotion.networks.model import backbone_of, encoder_of
from emotion.networks.standard import learn_standards
from emotion.paths import HOME
from emotion.telling import is_active, note, say
from emotion.training.batch_norm import live_batch_norms, reestimate_batch_norm
from emotion.training.further import frequencies
from emotion.training.logbook import Logbook
from emotion.training.loop import (
    Augmentation,
    Engine,
    augment,
    train_one_epoch,
)
from emotion.training.losses import EmotionLoss, class_weights
from emotion.training.memory import micro_batch_size
from emotion.training.options import TrainOptions
from emotion.training.schedule import build_optimizer, build_schedule
from emotion.training.scoring import count_parameters, final_scores, predict, validation_row
from emotion.training.setup import (
    Loaders,
    Task,
    build_initial_model,
    build_task,
    speakers_of,
)
from emotion.training.state import (
    RunState,
    check_same_clips,
    damaged,
    load_state,
    save_best,
    save_state,
)
from emotion.training.sweep import check_name, is_sweep, members, read_result, write_summary

CLIP_NORM = 5.0  # largest norm of a step's gradient
BN_SAMPLES = 256  # training clips that batch-norm statistics are estimated on
STANDARD_CLIPS = 2000  # training clips that vectors are standardised by


def train(options: TrainOptions) -> int:
    """Train, validate each epoch, score the best epoch; returns the exit code.

    Raises:
        UserError: flags, features or weights that do not fit; a loss that is no longer finite.
    """
    torch.set_num_threads(threads())
    device = choose_device(options.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    allow_tf32(options.amp)
    folder = run_folder(options)
    runs = members(options)
    folders = [folder.parent / run.exp_name for run in runs]
    check_name(folder, [place.name for place in folders] if is_sweep(options) else [])
    with distributed.process_group(device):
        for run, place_of_run in zip(runs, folders, strict=True):
            refuse_links(place_of_run, within=folder.parent.parent)
            try:
                with only_run_in(place_of_run) if distributed.is_main() else nullcontext():
                    _train(run, place_of_run, device)
            except HeldError as held:
                if not is_sweep(options) or distributed.world_size() > 1:
                    raise
                note(f"left to another process: {held}")
        if is_sweep(options) and distributed.is_main():
            if all(read_result(run) for run in folders):
                say(_summary_line(folder, write_summary(folder, runs)))
            else:
                say(f"Done {folder}: the rest is left to other processes; the last one sums up")
    return 0


def _train(options: TrainOptions, folder: Path, device: torch.device) -> None:
    """One run, and where it is asked for the refit."""
    task = build_task(options)
    if options.resume and read_result(folder):
        check_same_clips(folder, task, load_state(folder, options) or RunState())
        if distributed.is_main():
            say(f"{folder}: done before; its best checkpoint is {best_checkpoint(folder)}")
        return
    history, result, book = _fit(options, task, folder, device)
    if options.refit:
        both = task.parts._replace(train=task.parts.train + task.parts.val)
        again = replace(task, parts=both)
        _, refitted, _ = _fit(options, again, folder / REFIT, device, result["best_epoch"])
        result[REFIT] = refitted
    if book:
        book.finish(history, result, task.class_names)
        say(_closing_line(folder, result))
    distributed.barrier()


@dataclass
class Fit:
    """One model in training; ``last_epoch`` is the one to end with and to keep, of a refit."""

    options: TrainOptions
    task: Task
    folder: Path
    engine: Engine
    loaders: Loaders
    state: RunState
    book: Logbook | None  # of the main process
    last_epoch: int | None

    def epochs(self) -> None:
        """All that are left."""
        count = self.options.n_epoch if self.last_epoch is None else self.last_epoch + 1
        with told_in_one_line(self.loaders.ledger):
            for number in range(len(self.state.history), count):
                self.epoch(number)
            distributed.barrier()  # the best checkpoint is on disk

    def epoch(self, number: int) -> None:
        """Train, validate, write everything down."""
        engine, loaders, task = self.engine, self.loaders, self.task
        started = time.monotonic()
        loaders.train_batches.epoch = number
        torch.manual_seed(dropout_seed(self.options.seed, number))
        engine.skipped_steps = 0
        train_loss = train_one_epoch(engine, loaders.train, len(loaders.train_batches), number)
        loaders.at_once = engine.micro_batch  # which may have shrunk
        trained = time.monotonic()
        candidate = validation_model(engine, loaders)
        predictions = predict(candidate, loaders.val, task.parts.val, engine.device, engine.amp)
        _check_finite(predictions, number)
        row = {"epoch": number, "train_loss": train_loss, **validation_row(task, predictions)}
        if engine.scaler:
            row["skipped_steps"] = engine.skipped_steps
        row["lr"] = engine.optimizer.param_groups[0]["lr"]
        row["train_seconds"] = round(trained - started, 2)
        row["seconds"] = round(time.monotonic() - started, 2)
        better = self.state.add(row)
        if self.book:
            if better if self.last_epoch is None else number == self.last_epoch:
                scalars = {k: v for k, v in row.items() if not k.endswith("seconds")}
                save_best(self.folder, candidate, task, number, scalars)
            save_state(self.folder, self.state, engine, task, self.options)
            self.book.write_epoch(self.state.history)


def _fit(
    options: TrainOptions,
    task: Task,
    folder: Path,
    device: torch.device,
    last_epoch: int | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any], Logbook | None]:
    """Train and score one model: its epochs, its scores, and what else is to be written down."""
    fit = _begin(options, task, folder, device, last_epoch)
    fit.epochs()
    learnt = last_epoch is not None
    with told_in_one_line(fit.loaders.ledger):
        result = final_scores(folder, task, fit.loaders, device, fit.engine.amp, learnt=learnt)
    return fit.state.history, result, fit.book


def _begin(
    options: TrainOptions,
    task: Task,
    folder: Path,
    device: torch.device,
    last_epoch: int | None,
) -> Fit:
    """A model as it starts, or as it was left."""
    state = load_state(folder, options) if options.resume else None
    if state is not None:
        check_same_clips(folder, task, state)
    distributed.barrier()
    if distributed.is_main():
        claim_folder(folder, state)
    model = build_initial_model(options, task)
    loaders = Loaders(task, options, device)
    if state is None:
        encoders = {name: encoder_of(model, name) for name in task.recipe.modalities}
        learn_standards(encoders, loaders.clean_training_batches(STANDARD_CLIPS))
    engine = build_engine(options, task, model, loaders, device)
    state = state or RunState()
    try:
        state.restore(engine, options.micro_batch)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise damaged(folder / "last.pth", error) from error
    loaders.at_once = engine.micro_batch
    fit = Fit(options, task, folder, engine, loaders, state, None, last_epoch)
    if distributed.is_main():
        _announce(fit)
    return fit


def _announce(fit: Fit) -> None:
    """Open the logbook of a run, and say what it is."""
    options, task, engine = fit.options, fit.task, fit.engine
    if engine.micro_batch < options.batch_size:
        note(
            f"{options.batch_size} clips do not fit at once; each step runs "
            f"{engine.micro_batch} at a time (--micro_batch)"
        )
    fit.book = Logbook(fit.folder, options.n_epoch, len(fit.state.history))
    fit.book.write_config(options, _resolved(task, engine, fit.loaders))
    if task.folds:
        fit.book.write_folds(speakers_by_fold(task.store, task.folds, options.drop_classes))
    say(_start_line(fit.folder, task, engine.model, engine.device))
    # Ctrl-C in epoch 0 finds a last.pth too
    save_state(fit.folder, fit.state, engine, task, options)


def run_folder(options: TrainOptions) -> Path:
    """``logs/<mode>/<exp_name>``.

    Raises:
        UserError: the name would lead elsewhere.
    """
    name = options.exp_name
    if name in ("", ".", "..") or Path(name).name != name or any(map(is_active, name)):
        raise UserError(
            f"--exp_name {name!r}: give a plain name, without slashes and control characters"
        )
    return Path(options.logs_dir or HOME / "logs") / options.mode / name


def claim_folder(folder: Path, state: RunState | None) -> None:
    """Make the run folder; a run that is there is continued or left alone. A refit of a run that
    starts anew is none of its own.

    Raises:
        UserError: it holds a run and the flags do not say what to do with it.
    """
    if state is None and any((folder / name).is_file() for name in ("last.pth", "result.json")):
        raise UserError(
            f"{folder}: holds a run; give --resume True to go on with it, or another --exp_name, "
            "or remove the folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder)  # of a run that was killed while it wrote
    if state is None:
        own = [folder] if (folder / REFIT).is_symlink() else [folder, folder / REFIT]
        for pattern in ("*.pth", "events.*", "*.json", "*.csv", "*.png"):
            for path in (path for place in own for path in place.glob(pattern)):
                path.unlink()


def build_engine(
    options: TrainOptions,
    task: Task,
    model: nn.Module,
    loaders: Loaders,
    device: torch.device,
) -> Engine:
    """Optimizer, schedule, precision and parallelism around a model."""
    place(model, device)
    optimizer = build_optimizer(
        model,
        options.optim,
        options.learning_rate,
        options.weight_decay,
        backbone=backbone_of(model),
        backbone_lr=options.backbone_lr,
    )
    steps = len(loaders.train_batches)
    schedule = build_schedule(optimizer, round(options.warmup * steps), options.n_epoch * steps)
    amp = mixed_precision(device) if options.amp else None
    engine = Engine(
        model=model,
        parallel=parallelise(model, device),
        loss=_loss(options, task),
        optimizer=optimizer,
        schedule=schedule,
        device=device,
        n_classes=len(task.class_names),
        augmentation=Augmentation(
            task.recipe.parts,
            options.mixup_alpha,
            options.mixup_prob,
            all(part.kind == registry.SPECTROGRAM for part in task.recipe.parts),
        ),
        amp=amp,
        scaler=torch.amp.GradScaler(device.type) if amp == torch.float16 else None,
        clip_norm=CLIP_NORM,
        seed=options.seed,
    )
    engine.micro_batch = _micro_batch(options, engine, loaders)
    return engine


def _loss(options: TrainOptions, task: Task) -> EmotionLoss:
    """Of all heads, classes weighted by how often training meets them."""
    beside = max(len(task.targets) - 1, 1)
    weights = dict.fromkeys(task.targets, options.lam / beside) | {task.main_head: 1.0}
    train, n_classes = task.parts.train, len(task.class_names)
    often = frequencies(train, options.corpus_share)
    by_class = class_weights(options.class_weights, task.targets, train, n_classes, often)
    return EmotionLoss(task.targets, weights, options.label_smoothing, by_class)


def dropout_seed(seed: int, epoch: int) -> int:
    """Of an epoch of this rank: ranks that drop alike would leave the same units idle."""
    return seed * 1_000_003 + epoch + 1_000_000_007 * distributed.rank()


def _check_finite(predictions: Predictions, epoch: int) -> None:
    """Stop before weights that are lost replace those that are not."""
    for logits in predictions.logits.values():
        lost = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(lost):
            raise UserError(
                f"the answer for {predictions.ids[lost[0]]} is not finite after epoch {epoch}; "
                "last.pth is still that of the epoch before; lower --learning_rate, or give "
                "--amp False"
            )


def validation_model(engine: Engine, loaders: Loaders) -> nn.Module:
    """The model to judge, its batch-norm statistics estimated anew."""
    if live_batch_norms(engine.model):
        with engine.autocast():
            reestimate_batch_norm(engine.model, loaders.clean_training_batches(BN_SAMPLES))
    return engine.model


def _micro_batch(options: TrainOptions, engine: Engine, loaders: Loaders) -> int:
    if options.micro_batch == "auto" and options.batch_size == 1:
        return 1
    dataset = loaders.train.dataset
    longest = sorted(range(len(dataset)), key=lambda i: -dataset.examples[i].record.fact("frames"))[
        :2
    ]
    sample = loaders.train.collate_fn([dataset[0, index] for index in longest])
    inputs, _ = augment(engine, sample, torch.Generator().manual_seed(0))
    return micro_batch_size(options.micro_batch, engine.model, inputs, options.batch_size)


def _resolved(task: Task, engine: Engine, loaders: Loaders) -> dict[str, Any]:
    return {
        "features": task.feature_settings,
        "class_names": task.class_names,
        "targets": task.targets,
        "clips": {name: len(part) for name, part in task.parts._asdict().items()},
        "speakers": {name: speakers_of(part) for name, part in task.parts._asdict().items()},
        "recipe": recipe.describe(task.recipe),
        "micro_batch": engine.micro_batch,
        "num_workers": loaders.workers,
        "device": str(engine.device),
        "amp": str(engine.amp),
        "world_size": distributed.world_size(),
    }


def _start_line(folder: Path, task: Task, model: nn.Module, device: torch.device) -> str:
    parts = ", ".join(f"{name} {len(part)}" for name, part in task.parts._asdict().items() if part)
    return (
        f"Start {folder}: {task.recipe.mode}, {count_parameters(model):,} parameters, "
        f"{len(task.class_names)} classes, clips: {parts}, device {device}"
    )


def _summary_line(folder: Path, summary: dict[str, Any]) -> str:
    shown = []
    for title, scores in (("", summary), ("ensemble_", summary.get("ensemble", {}))):
        for part in (name for name in ("valid", "test") if name in scores):
            for name, short in (("accuracy", "acc"), ("unweighted_average_recall", "ua")):
                score = scores[part][name]
                spread = "" if score["std"] is None else f" +- {score['std']:.4f}"
                shown.append(f"{title}{part}_{short}: {score['mean']:.4f}{spread}")
    return f"Done {folder}: mean and spread of {len(summary['runs'])} runs {' '.join(shown)}"


def _closing_line(folder: Path, result: dict[str, Any]) -> str:
    shown = []
    scored = {name: result.get(name) for name in ("valid", "test")}
    scored[f"{REFIT}_test"] = result.get(REFIT, {}).get("test")
    for name, scores in ((name, scores) for name, scores in scored.items() if scores):
        shown.append(
            f"{name}_acc: {scores['accuracy']:.4f} "
            f"{name}_ua: {scores['unweighted_average_recall']:.4f} "
            f"{name}_f1: {scores['macro_f1']:.4f}"
        )
    return f"Done {folder}: best {result['best_checkpoint']} {' '.join(shown)}"
