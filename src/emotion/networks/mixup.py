"""Manifold mixup (Verma et al. 2019, arXiv 1806.05236): pooled vectors of two clips are mixed."""

import torch
from torch import Tensor

from emotion.records import Batch


def mix_pooled(pooled: Tensor, batch: Batch | None) -> Tensor:
    """Each clip's vector and its partner's, as ``batch`` says; as they are where it says nothing.

    Partners are relative (rows further on), so that they hold in any part of a batch that is cut
    off whole: a micro-batch, or the share of a ``DataParallel`` replica.

    Args:
        pooled: (B, D), between a head's pooling and its classifier.
        batch: what the vectors were made of; training alone names partners.
    """
    if batch is None or batch.mix_offset is None:
        return pooled
    partner = torch.arange(len(pooled), device=pooled.device) + batch.mix_offset
    weight = batch.mix_weight.to(pooled.dtype).unsqueeze(1)
    return torch.lerp(pooled[partner], pooled, weight)
