"""Answers of a model to batches of clips."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from emotion import distributed
from emotion.data.dataset import Labelled
from emotion.records import Batch, Clock, Stream


class Predictions(NamedTuple):
    """Answers for a set of clips, in its own order."""

    ids: list[str]
    targets: np.ndarray  # (clips, 3) integrated, face, speech; -1 unlabelled
    logits: dict[str, np.ndarray]  # head -> (clips, classes) float32


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Labelled],
    order: list[str],
    device: torch.device,
    amp: torch.dtype | None = None,
    *,
    without: str = "",
) -> Predictions:
    """Answers for every clip, exact whatever the batches and the number of ranks.

    Args:
        model: in whatever mode; it is put into evaluation.
        batches: this rank's share.
        order: names of all clips of the set, in the order wanted.
        device: of the model.
        amp: dtype of mixed precision.
        without: a modality to hide.
    """
    model.eval()
    rows = []
    for labelled in batches:
        batch = hide(to_device(labelled.inputs, device), without)
        with torch.autocast(device.type, amp, enabled=amp is not None):
            logits = model(batch)
        rows.append(
            (labelled.ids, labelled.targets, {k: v.float().cpu() for k, v in logits.items()})
        )
    rows = [row for part in distributed.gather(rows) for row in part]
    names = [name for ids, _, _ in rows for name in ids]
    place = {name: row for row, name in enumerate(names)}
    index = [place[name] for name in order]
    logits = {head: torch.cat([row[2][head] for row in rows]).numpy()[index] for head in rows[0][2]}
    return Predictions(list(order), torch.cat([row[1] for row in rows]).numpy()[index], logits)


def hide(batch: Batch, modality: str) -> Batch:
    """The batch as if a modality were absent: all of its steps are masked."""
    if not modality:
        return batch
    stream = batch.streams[modality]
    masked = stream._replace(mask=torch.zeros_like(stream.mask))
    return batch._replace(streams=batch.streams | {modality: masked})


def to_device(batch: Batch, device: torch.device) -> Batch:
    """All tensors of a batch on the device, copied without waiting where memory is pinned."""
    return each_tensor(batch, lambda values: values.to(device, non_blocking=True))


def take(batch: Batch, first: int, last: int) -> Batch:
    """Clips ``first`` to ``last`` (exclusive) of a batch."""
    return each_tensor(batch, lambda values: values[first:last])


def each_tensor(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """A batch with every tensor in it changed."""
    return Batch(
        {name: Stream(*map(change, stream)) for name, stream in batch.streams.items()},
        None if batch.clock is None else Clock(*map(change, batch.clock)),
        *(None if values is None else change(values) for values in batch[2:]),
    )
