"""A bidirectional LSTM over vectors of any width, pooled by attention."""

from dataclasses import dataclass

from torch import nn

from emotion.networks.attention import DROPOUT, AttentionPooling, Head, MaskedBiLSTM
from emotion.recipe import Part
from emotion.records import Stream


@dataclass(frozen=True)
class Options:
    """Of the network."""

    hidden: int = 128  # LSTM width per direction


class LSTMEncoder(nn.Module):
    """A sequence of vectors read both ways: Stream (B, N, D) -> Stream (B, N, 2 * hidden).

    Each vector is normalised first: an embedding of unit length has elements of 0.04, a summed word
    vector ten times that, and one learning rate has to fit both. A vector of a single number has
    nothing left after that, so it is taken as it is.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if width > 1 else nn.Identity()
        self.dropout = nn.Dropout(DROPOUT)
        self.lstm = MaskedBiLSTM(width, hidden)
        self.width = self.lstm.width

    def forward(self, stream: Stream) -> Stream:
        """Same steps, same mask, same times."""
        values = stream.values.masked_fill(~stream.mask.unsqueeze(-1), 0.0)
        values = self.lstm(self.dropout(self.norm(values)), stream.mask)
        return stream._replace(values=values)


def build(part: Part) -> LSTMEncoder:
    """The encoder."""
    return LSTMEncoder(part.width, part.network.hidden)


def build_head(part: Part, width: int, n_classes: int) -> Head:
    """Attention pooling."""
    return Head(AttentionPooling(width), width, n_classes)
