"""A linear model or a small MLP on pooled vectors that a frozen network made.

Where a network already knows speech or faces, what is left to learn is little: the mean of its
standardised states over a clip, and one hidden layer or none.
"""

import torch
from torch import Tensor, nn

from emotion.networks.attention import Head, MeanPooling
from emotion.networks.mixup import mix_pooled
from emotion.networks.standard import Standard
from emotion.recipe import Part
from emotion.records import Batch, Stream

READS_LAYERS = True  # several layers of a frozen network at once, and no weighted mean of them
HIDDEN = {"mlp": 256, "linear": 0}  # width of the layer between, by the name of the encoder
DROPOUT = 0.5  # of its inputs and of that layer


class StandardEncoder(nn.Module):
    """Standardised vectors: Stream (B, N, D) or (B, N, L, D) -> Stream (B, N, L * D)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.standard = Standard(shape)
        self.width = int(torch.tensor(shape).prod())

    def forward(self, stream: Stream) -> Stream:
        """Same steps, same mask, same times."""
        return stream._replace(values=self.standard(stream.values, stream.mask).flatten(2))


class MLPHead(Head):
    """Mean over the valid steps, a hidden layer, one linear layer: (B, N, D) -> (B, classes)."""

    def __init__(self, width: int, hidden: int, n_classes: int, dropout: float) -> None:
        super().__init__(MeanPooling(), hidden or width, n_classes, dropout)
        self.hidden = nn.Identity()
        if hidden:
            self.hidden = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, hidden), nn.ReLU())

    def forward(self, stream: Stream, batch: Batch | None = None) -> Tensor:
        """Logits; what the hidden layer gives is mixed where ``batch`` names partners."""
        values = self.dropout(self.hidden(self.pooling(stream)))
        return self.classifier(mix_pooled(values, batch))


def build(part: Part) -> StandardEncoder:
    """The encoder."""
    return StandardEncoder(part.shape)


def build_head(part: Part, width: int, n_classes: int) -> MLPHead:
    """The head."""
    return MLPHead(width, HIDDEN[part.encoder], n_classes, DROPOUT)
