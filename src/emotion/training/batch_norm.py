"""Batch-norm statistics estimated anew for the weights that are about to be evaluated."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from emotion.records import Batch


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
    while training goes well. This is ``torch.optim.swa_utils.update_bn`` for clips that a model
    runs in groups of unequal size (by length), whose means may differ as their lengths do: the
    variance is that of all of them together. Dropout is off and frozen parts are left alone. The
    model is left in evaluation mode.
    """
    norms = live_batch_norms(model)
    model.eval()
    momenta = [norm.momentum for norm in norms]
    statistics = [_Statistics(norm) for norm in norms]
    for batch in batches:
        model(batch)
    for norm, momentum, found in zip(norms, momenta, statistics, strict=True):
        found.store()
        norm.momentum = momentum
    model.eval()


class _Statistics:
    """Mean and variance of all that a batch norm is called on until ``store``."""

    def __init__(self, norm: _BatchNorm) -> None:
        self.norm = norm
        self.clips = 0
        self.mean = torch.zeros_like(norm.running_mean)
        self.variance = torch.zeros_like(norm.running_var)
        norm.reset_running_stats()
        norm.momentum = 1.0  # each call leaves its own statistics in the module
        norm.train()
        self.hook = norm.register_forward_hook(self._add)

    def _add(self, norm: _BatchNorm, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        """Join two sets of clips: variance within, and between their means (Chan et al. 1979)."""
        if not norm.training:  # a clip without the modality, in place of nobody
            return
        self.clips += len(inputs[0])
        share = len(inputs[0]) / self.clips
        apart = norm.running_mean - self.mean
        within = norm.running_var - self.variance
        self.mean += share * apart
        self.variance += share * within + share * (1 - share) * apart.square()

    def store(self) -> None:
        """Make them the module's own; one that was never called keeps its reset ones."""
        self.hook.remove()
        if self.clips:
            self.norm.running_mean.copy_(self.mean)
            self.norm.running_var.copy_(self.variance)
