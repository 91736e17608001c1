"""The loop that trains every mode: one epoch, one step, one evaluation."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from emotion import distributed, registry
from emotion.data.dataset import Labelled
from emotion.data.mixing import draw_mixture, mix_inputs, mix_inside, mix_targets
from emotion.errors import UserError
from emotion.models.evaluate import take, to_device
from emotion.recipe import Part
from emotion.records import Batch
from emotion.telling import note
from emotion.training.beside import beside
from emotion.training.losses import EmotionLoss

LOOK_EVERY = 20  # steps between two looks at the losses on the device: each look waits for it


@dataclass
class Augmentation:
    """What is done to training batches on the device."""

    parts: tuple[Part, ...] = ()  # whose features have something of their own to do
    mixup_alpha: float = 0.5
    mixup_prob: float = 1.0
    mix_inputs: bool = False  # else what a model's poolings make of two clips is mixed


@dataclass
class Engine:
    """What one training step needs."""

    model: nn.Module  # as it is stored
    parallel: nn.Module  # the same, wrapped for several devices or processes
    loss: EmotionLoss
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    device: torch.device
    n_classes: int
    augmentation: Augmentation = field(default_factory=Augmentation)
    amp: torch.dtype | None = None
    scaler: torch.amp.GradScaler | None = None
    micro_batch: int = 1 << 30
    clip_norm: float = 0.0
    seed: int = 0
    skipped_steps: int = 0  # of the epoch, left out by the scaler

    def autocast(self) -> torch.autocast:
        """Mixed precision, where it is on."""
        return torch.autocast(self.device.type, self.amp, enabled=self.amp is not None)


def train_one_epoch(
    engine: Engine, batches: Iterable[Labelled], n_batches: int, epoch: int
) -> float:
    """One pass over the training clips; returns the mean loss.

    Raises:
        UserError: the loss is no longer finite; the line names the step and its clips.
    """
    engine.parallel.train()
    watch = _LossWatch(epoch)
    prepare = partial(_prepare, engine, epoch)
    bar = tqdm(
        beside(enumerate(batches), prepare),
        total=n_batches,
        desc=f"epoch {epoch}",
        unit="batch",
        leave=False,
        disable=None if distributed.is_main() else True,
    )
    for step, ready in enumerate(bar):
        loss = _gradient_that_fits(engine, ready, prepare)
        watch.add(loss, ready.labelled.ids)
        update_weights(engine)
        if (step + 1) % LOOK_EVERY == 0:
            bar.set_postfix_str(f"loss {watch.look():.4f}", refresh=False)
    watch.look()
    means = distributed.gather(watch.mean())
    return float(np.mean(means))


class _Ready(NamedTuple):
    """A step's batch, augmented for parts of ``micro_batch`` clips."""

    step: int
    labelled: Labelled
    inputs: Batch
    soft: Tensor
    micro_batch: int


def _prepare(engine: Engine, epoch: int, numbered: tuple[int, Labelled]) -> _Ready:
    """Inputs and soft labels of a step."""
    step, labelled = numbered
    micro_batch = engine.micro_batch
    generator = torch.Generator().manual_seed(_step_seed(engine.seed, epoch, step))
    return _Ready(step, labelled, *augment(engine, labelled, generator), micro_batch)


def _gradient_that_fits(
    engine: Engine,
    ready: _Ready,
    prepare: Callable[[tuple[int, Labelled]], _Ready],
) -> Tensor:
    """``accumulate_gradient``; where memory runs out, again with half as many clips at once.

    Partners in mixup lie within a part, so that smaller parts require the batch prepared anew. Not
    among ranks, which would fall out of step.
    """
    alone = distributed.world_size() == 1
    while True:
        if ready.micro_batch != engine.micro_batch:
            ready = prepare((ready.step, ready.labelled))
        try:
            return accumulate_gradient(engine, ready.inputs, ready.soft)
        except torch.OutOfMemoryError:
            at_once = min(engine.micro_batch, len(ready.labelled.ids))
            if not alone or at_once == 1:
                raise
        # after the except clause, which holds what the failed attempt had in memory
        engine.optimizer.zero_grad(set_to_none=True)
        engine.micro_batch = -(-at_once // 2)
        if engine.device.type == "cuda":
            torch.cuda.empty_cache()
        note(
            f"{at_once} clips do not fit at once; each step runs {engine.micro_batch} at a "
            "time (--micro_batch)"
        )


def augment(engine: Engine, labelled: Labelled, generator: torch.Generator) -> tuple[Batch, Tensor]:
    """A batch on the device after SpecAugment and mixup, with soft labels (heads, B, classes)."""
    batch = to_device(labelled.inputs, engine.device)
    soft = engine.loss.soft_labels(
        labelled.targets.to(engine.device, non_blocking=True), engine.n_classes
    )
    settings = engine.augmentation
    fused = len(settings.parts) > 1
    streams = dict(batch.streams)
    for part in settings.parts:
        change = registry.feature(part.feature).augment
        streams[part.modality] = change(streams[part.modality], part.reading, generator, fused)
    batch = batch._replace(streams=streams)
    groups = seen_together(engine, len(labelled.ids))
    mixture = draw_mixture(groups, settings.mixup_alpha, settings.mixup_prob, generator)
    mix = mix_inputs if settings.mix_inputs else mix_inside
    return mix(batch, mixture), mix_targets(soft, mixture)


def seen_together(engine: Engine, size: int) -> list[int]:
    """How many clips in a row one device sees at once: a micro-batch, or a replica's share of it.

    Inputs are mixed before a batch is cut, so that all of it is one group.
    """
    if engine.augmentation.mix_inputs:
        return [size]
    replicas = (
        len(engine.parallel.device_ids) if isinstance(engine.parallel, nn.DataParallel) else 1
    )
    parts = (torch.arange(end - first) for first, end in _parts(size, engine.micro_batch))
    return [len(share) for part in parts for share in part.chunk(max(1, replicas))]


def accumulate_gradient(engine: Engine, inputs: Batch, soft: Tensor) -> Tensor:
    """Add the gradient of a batch's mean loss, part by part; returns the loss.

    The parts (``micro_batch``) and the ranks weigh by their clips, so that splitting a batch
    changes nothing but batch norm. Ranks exchange gradients only in the last part.
    """
    size = soft.shape[1]
    totals = distributed.sum_over_ranks(soft.sum((1, 2)))
    totals = totals / distributed.world_size()  # because gradients are averaged over ranks
    parts = _parts(size, engine.micro_batch)
    loss = torch.zeros((), device=engine.device)
    for number, (first, end) in enumerate(parts):
        with _no_sync(engine.parallel, number < len(parts) - 1):
            with engine.autocast():
                logits = engine.parallel(take(inputs, first, end))
            part = engine.loss(logits, soft[:, first:end], totals)
            (engine.scaler.scale(part) if engine.scaler else part).backward()
        loss += part.detach()
    return loss


def update_weights(engine: Engine) -> None:
    """Unscale, clip, step the optimizer once and the schedule once."""
    if engine.scaler:
        engine.scaler.unscale_(engine.optimizer)
    if engine.clip_norm > 0:
        nn.utils.clip_grad_norm_(engine.model.parameters(), engine.clip_norm)
    if engine.scaler:
        scale = engine.scaler.get_scale()
        engine.scaler.step(engine.optimizer)
        engine.scaler.update()
        engine.skipped_steps += engine.scaler.get_scale() < scale  # gradients that overflowed
    else:
        engine.optimizer.step()
    engine.optimizer.zero_grad(set_to_none=True)
    engine.schedule.step()


class _LossWatch:
    """Losses stay on the device and are looked at now and then: a look waits for the device."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.pending: list[tuple[Tensor, list[str]]] = []
        self.sum, self.clips, self.steps = 0.0, 0, 0

    def add(self, loss: Tensor, ids: list[str]) -> None:
        self.pending.append((loss, ids))

    def look(self) -> float:
        if self.pending:
            values = torch.stack([loss for loss, _ in self.pending]).tolist()
            for value, (_, ids) in zip(values, self.pending, strict=True):
                self._take(value, ids)
            self.pending.clear()
        return self.mean()

    def mean(self) -> float:
        return self.sum / max(self.clips, 1)

    def _take(self, value: float, ids: list[str]) -> None:
        if not np.isfinite(value):
            raise UserError(
                f"the loss is {value} in epoch {self.epoch}, step {self.steps}, clips "
                f"{' '.join(ids[:8])}{' ...' if len(ids) > 8 else ''}; "
                "check their features, or lower --learning_rate, or give --amp False"
            )
        self.sum += value * len(ids)
        self.clips += len(ids)
        self.steps += 1


def _parts(size: int, micro_batch: int) -> list[tuple[int, int]]:
    """Ranges of nearly equal length, none longer than ``micro_batch``."""
    cuts = np.linspace(0, size, -(-size // micro_batch) + 1).round().astype(int).tolist()
    return list(pairwise(cuts))


def _no_sync(parallel: nn.Module, wanted: bool) -> nullcontext:
    if wanted and isinstance(parallel, DistributedDataParallel):
        return parallel.no_sync()
    return nullcontext()


def _step_seed(seed: int, epoch: int, step: int) -> int:
    numbers = (seed, epoch, step, distributed.rank())
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
