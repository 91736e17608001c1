"""Optimizer and learning rate."""

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

MOMENTUM = 0.9
WARMUP_START = 1e-3  # of the learning rate, at the first step


def build_optimizer(
    model: nn.Module, name: str, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum; norms and biases (one axis) are not decayed."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, learning_rate, MOMENTUM, nesterov=True)
    return torch.optim.AdamW(groups, learning_rate, fused=True)


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
