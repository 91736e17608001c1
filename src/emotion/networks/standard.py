"""Values of a frozen network in standard deviations from their mean over the training clips."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from emotion.records import Batch, Stream

LEAST_DEVIATION = 1e-6


class Standard(nn.Module):
    """Each value of a step against its mean and spread over all steps of training clips.

    The statistics are found once, before training (``learn_standards``), and are part of the
    weights: what a network before it was trained to give is no unit of ours.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        self.sums: tuple[Tensor, Tensor, Tensor] | None = None  # while it learns

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values (B, N, ...), mask (B, N); masked steps are 0."""
        if self.sums is not None:
            self._add(values[mask].double())
        known = (values - self.mean).div_(self.deviation)
        return known.masked_fill_(~mask.view(*mask.shape, *[1] * (values.dim() - 2)), 0.0)

    def _add(self, steps: Tensor) -> None:
        count, total, squares = self.sums
        self.sums = (count + len(steps), total + steps.sum(0), squares + steps.square().sum(0))

    def learn(self) -> None:
        """From now on, every step that goes through counts."""
        nothing = torch.zeros_like(self.mean, dtype=torch.float64)
        self.sums = (torch.zeros_like(self.count), nothing, nothing)

    def settle(self) -> None:
        """Take the mean and spread of what was seen; what was not seen stays as it is."""
        count, total, squares = self.sums
        self.sums = None
        if count > 0:
            mean = total / count
            variance = (squares / count - mean.square()).clamp(min=0.0)
            self.count.copy_(count)
            self.mean.copy_(mean)
            self.deviation.copy_(variance.sqrt().clamp(min=LEAST_DEVIATION))


@torch.no_grad()
def learn_standards(encoders: dict[str, nn.Module], batches: Iterable[Batch]) -> None:
    """Give every ``Standard`` that knows nothing yet the statistics of some batches.

    Args:
        encoders: by modality, still on the CPU.
        batches: training clips without augmentation.
    """
    new = {name: _unlearned(encoder) for name, encoder in encoders.items()}
    new = {name: standards for name, standards in new.items() if standards}
    if not new:
        return
    every = [standard for standards in new.values() for standard in standards]
    for standard in every:
        standard.learn()
    for batch in batches:
        for name in new:
            stream = batch.streams[name]
            encoders[name](Stream(*(part.cpu() for part in stream)))
    for standard in every:
        standard.settle()


def _unlearned(encoder: nn.Module) -> list[Standard]:
    return [m for m in encoder.modules() if isinstance(m, Standard) and not m.count]
