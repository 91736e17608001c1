"""Optimizer and learning rate."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

MOMENTUM = 0.9
WARMUP_START = 1e-3  # of the learning rate, at the first step


def build_optimizer(
    model: nn.Module,
    name: str,
    learning_rate: float,
    weight_decay: float,
    *,
    backbone: Sequence[nn.Parameter] = (),
    backbone_lr: float = 1.0,
) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum; norms and biases (one axis) are not decayed.

    ``backbone``, what started from weights, learns at ``backbone_lr`` times the rate of the rest.
    """
    started = {id(p) for p in backbone} if backbone_lr != 1.0 else set()
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        *_groups([p for p in parameters if id(p) not in started], weight_decay, learning_rate),
        *_groups(
            [p for p in parameters if id(p) in started], weight_decay, learning_rate * backbone_lr
        ),
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, learning_rate, MOMENTUM, nesterov=True)
    return torch.optim.AdamW(groups, learning_rate, fused=True)


def _groups(
    parameters: list[nn.Parameter], weight_decay: float, learning_rate: float
) -> list[dict[str, Any]]:
    """Matrices and kernels, which are decayed, and the rest; nothing of no parameters."""
    if not parameters:
        return []
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay, "lr": learning_rate},
        {"params": others, "weight_decay": 0.0, "lr": learning_rate},
    ]


def build_schedule(
    optimizer: torch.optim.Optimizer, warmup_steps: int, total_steps: int
) -> LRScheduler:
    """Linear warmup, then a cosine to zero, a step at a time (Loshchilov & Hutter 2017)."""
    warmup_steps = min(warmup_steps, total_steps - 1)
    cosine = CosineAnnealingLR(optimizer, max(1, total_steps - warmup_steps))
    if warmup_steps < 1:
        return cosine
    warmup = LinearLR(optimizer, WARMUP_START, total_iters=warmup_steps)
    return SequentialLR(optimizer, [warmup, cosine], [warmup_steps])
