"""Several layers of a frozen encoder as one: their mean under weights that are learned."""

import torch
from torch import nn

from emotion.records import Stream


class WeightedLayers(nn.Module):
    """A softmax over layers, before an encoder (SUPERB: Yang et al. 2021, arXiv 2105.01051).

    Stream (B, N, L, D) -> what ``encoder`` makes of (B, N, D). Each layer is normalised first: the
    last ones of an encoder are larger than the first by a multiple, and would outvote them.
    """

    def __init__(self, encoder: nn.Module, layers: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.width: int = encoder.width
        self.scores = nn.Parameter(torch.zeros(layers))

    def forward(self, stream: Stream) -> Stream:
        """What the encoder makes of the mean."""
        values = nn.functional.layer_norm(stream.values, stream.values.shape[-1:])
        shares = self.scores.softmax(0).to(values.dtype)
        return self.encoder(
            stream._replace(
                values=(shares @ values.flatten(0, 1)).view(*values.shape[:2], values.shape[-1])
            )
        )
