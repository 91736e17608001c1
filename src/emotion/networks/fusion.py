"""What all fusions share. They read streams by modality and a clock, and know no encoder."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from emotion.records import Batch, Clock, Stream

Streams = dict[str, Stream]


class Attention(NamedTuple):
    """Shares of steps, float32, which sum to 1 a clip, or to 0 where there is nothing to read."""

    weights: Tensor  # (B, N)
    time: Tensor  # (B, N) seconds; NaN where a step has none


class Fusion(nn.Module):
    """What the ways share: projections to one width, absent tokens, the head.

    A modality that is masked throughout is replaced by its learned "absent" token.

    Args:
        widths: of the encoders' values, by modality.
        hidden: the common width.
    """

    def __init__(self, widths: dict[str, int], hidden: int) -> None:
        super().__init__()
        self.names = tuple(widths)
        self.projections = nn.ModuleDict(
            {
                # encoders differ in scale by a hundred: without the norm the largest one drowns
                # the others' scores, and a few hundred clips do not suffice to unlearn that
                name: nn.Sequential(nn.LayerNorm(widths[name]), nn.Linear(widths[name], hidden))
                for name in self.names
            }
        )
        self.absent = nn.ParameterDict(
            {name: nn.Parameter(0.02 * torch.randn(hidden)) for name in self.names}
        )

    def forward(self, streams: Streams, clock: Clock, batch: Batch | None = None) -> Tensor:
        """Logits (B, n_classes); fused vectors are mixed where ``batch`` names partners."""
        return self.head(self.encode(streams, clock), batch)

    def encode(self, streams: Streams, clock: Clock) -> Stream:
        """What the last pooling reads."""
        raise NotImplementedError

    def attention(self, streams: Streams, clock: Clock) -> dict[str, Attention]:
        """What the answer rests on: shares of the steps of each modality."""
        raise NotImplementedError

    def _or_absent(self, name: str, present: Tensor, values: Tensor) -> Tensor:
        """``values`` (..., D) where ``present`` (...) is True, elsewhere the absent token."""
        # a where and not an index: the token stays in the graph, as distributed training needs
        token = self.absent[name].to(values.dtype)
        return torch.where(present.unsqueeze(-1), values, token)


def drop_modalities(streams: Streams, probability: float) -> Streams:
    """Mask each modality of each clip with ``probability``; never all that a clip has."""
    masks = torch.stack([stream.mask.any(dim=1) for stream in streams.values()], dim=1)
    drop = torch.rand(masks.shape, device=masks.device) < probability
    nothing_left = ~(masks & ~drop).any(dim=1, keepdim=True)
    drop = drop & ~nothing_left
    return {
        name: stream._replace(mask=stream.mask & ~drop[:, column : column + 1])
        for column, (name, stream) in enumerate(streams.items())
    }
