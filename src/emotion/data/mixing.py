"""Mixup of whole batches, on the device.

Random numbers are drawn on the CPU from a generator given by the caller, so that a batch is mixed
alike on every device.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from emotion.records import Batch, Stream


class Mixture(NamedTuple):
    """A mixup of a batch with a permutation of itself."""

    weight: float  # of the first clip
    partner: Tensor  # (B,) int64, row of the second one


def draw_mixture(
    groups: Sequence[int], alpha: float, probability: float, generator: torch.Generator
) -> Mixture | None:
    """One weight for all inputs and labels of a batch, and a partner for each clip (Zhang et al.
    2018, arXiv 1710.09412); None when this batch stays as it is.

    Args:
        groups: how many clips in a row a device sees together; partners stay inside their group.
        alpha: of the Beta distribution that the weight is drawn from.
        probability: that the batch is mixed at all.
        generator: on the CPU.
    """
    if alpha <= 0 or sum(groups) < 2 or torch.rand((), generator=generator) >= probability:
        return None
    first, second = (torch._standard_gamma(torch.full((), alpha), generator) for _ in range(2))
    total = float(first + second)
    weight = float(first) / total if total > 0 else 0.5
    starts = accumulate(groups, initial=0)
    partners = [
        start + torch.randperm(size, generator=generator)
        for start, size in zip(starts, groups, strict=False)
    ]
    return Mixture(weight, torch.cat(partners))


def mix_inputs(batch: Batch, mixture: Mixture | None) -> Batch:
    """Mix the values themselves, as of spectrograms; the shorter of two clips is zeros (silence)
    after its end.
    """
    if mixture is None:
        return batch
    streams = {name: _mixed(stream, mixture) for name, stream in batch.streams.items()}
    return batch._replace(streams=streams)


def _mixed(stream: Stream, mixture: Mixture) -> Stream:
    partner = mixture.partner.to(stream.mask.device)
    mask = stream.mask | stream.mask[partner]
    return Stream(
        torch.lerp(stream.values[partner], stream.values, mixture.weight),
        mask,
        torch.where(stream.mask, stream.time, stream.time[partner]),
    )


def mix_inside(batch: Batch, mixture: Mixture | None) -> Batch:
    """Leave the inputs as they are and name each clip's partner, for the model to mix what its
    poolings make of the two (manifold mixup: Verma et al. 2019, arXiv 1806.05236).

    Sequences of unequal length cannot be mixed step by step: a layer norm gives the steps that only
    one of the two clips has their full size back, and attention then reads 76 % of a pair from a
    clip that has 5 % of the label.
    """
    if mixture is None:
        return batch
    device = next(iter(batch.streams.values())).mask.device
    offset = mixture.partner - torch.arange(len(mixture.partner))
    return batch._replace(
        mix_offset=offset.to(device),
        mix_weight=torch.full((len(offset),), mixture.weight, device=device),
    )


def mix_targets(targets: Tensor, mixture: Mixture | None) -> Tensor:
    """Mix soft labels (..., B, classes) along B; an unlabelled row is zeros: it has no weight."""
    if mixture is None:
        return targets
    other = targets[..., mixture.partner.to(targets.device), :]
    return mixture.weight * targets + (1 - mixture.weight) * other
