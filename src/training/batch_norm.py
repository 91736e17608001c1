"""Batch-norm statistics estimated anew for the weights that are about to be evaluated."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.batch import Batch


def live_batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Batch norms that training changes; a frozen encoder's keep what they have."""
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        and module.weight is not None
        and module.weight.requires_grad
    ]


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Replace running means and variances by those of ``batches``, weighted by their clips.

    Running averages lag behind the weights in a short run, which can hold validation at chance
    while training goes well, and averaged weights never had any of their own. This is
    ``torch.optim.swa_utils.update_bn`` for batches of unequal size, with dropout off and frozen
    parts left alone. The model is left in evaluation mode.
    """
    norms = live_batch_norms(model)
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    seen = 0
    for batch in batches:
        clips = len(next(value for value in batch if value is not None))
        seen += clips
        for norm in norms:
            norm.momentum = clips / seen
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
