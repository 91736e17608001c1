"""Clips that lack a modality stay out of its encoder, and so out of its batch statistics."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from emotion.records import Stream


def encode_present(encoder: nn.Module, stream: Stream) -> Stream:
    """``encoder(stream)``, run on the clips that have a step in it; the others are masked zeros.

    Batch norm takes its statistics from whatever runs through it, so a blank in place of a missing
    face or voice would count as one. Where no clip of the batch is present, the first one runs all
    the same, with statistics left alone and its result multiplied by 0: distributed training waits
    for a gradient of every parameter on every rank. An exported graph runs every clip: its batch
    norms are fixed, and rows cannot be chosen in it.

    Args:
        encoder: Stream -> Stream.
        stream: of B clips.
    """
    present = stream.mask.any(dim=1)
    if _is_export() or present.all():
        return encoder(stream)
    if present.any():
        rows = present.nonzero().squeeze(1)
        return _scatter(encoder(_rows(stream, rows)), rows, len(present))
    first = torch.zeros(1, dtype=torch.long, device=present.device)
    with _statistics_left_alone(encoder):
        nobody = encoder(_rows(stream, first))
    nothing = nobody._replace(values=0.0 * nobody.values, mask=torch.zeros_like(nobody.mask))
    return _scatter(nothing, first, len(present))


def _is_export() -> bool:
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def _rows(stream: Stream, rows: Tensor) -> Stream:
    return Stream(*(values[rows] for values in stream))


def _scatter(stream: Stream, rows: Tensor, count: int) -> Stream:
    """A stream of some clips as one of ``count``: (b, N, D) to (B, N, D), zeros elsewhere."""
    return Stream(*(_spread(part, rows, count) for part in stream))


def _spread(part: Tensor, rows: Tensor, count: int) -> Tensor:
    return part.new_zeros(count, *part.shape[1:]).index_copy(0, rows, part)


@contextmanager
def _statistics_left_alone(encoder: nn.Module) -> Iterator[None]:
    """Batch norms use what they have and learn nothing of what runs through them."""
    norms = [m for m in encoder.modules() if isinstance(m, _BatchNorm) and m.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
