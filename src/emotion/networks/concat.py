"""Fusion by pooled vectors side by side."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion.networks.attention import DROPOUT, AttentionPooling
from emotion.networks.fusion import Attention, Fusion, Streams
from emotion.networks.mixup import mix_pooled
from emotion.records import Batch, Clock, Stream


@dataclass(frozen=True)
class Options:
    """Of the fusion."""

    hidden: int = 128  # LSTM width per direction


class ConcatFusion(Fusion):
    """Each modality pooled by its own attention, their vectors side by side, two layers."""

    def __init__(self, widths: dict[str, int], n_classes: int, hidden: int) -> None:
        super().__init__(widths, hidden)
        self.poolings = nn.ModuleDict({name: AttentionPooling(hidden) for name in self.names})
        joined = len(self.names) * hidden
        self.head = nn.Sequential(
            nn.LayerNorm(joined),
            nn.Dropout(DROPOUT),
            nn.Linear(joined, 2 * hidden),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(2 * hidden, n_classes),
        )

    def forward(self, streams: Streams, clock: Clock, batch: Batch | None = None) -> Tensor:
        """Logits (B, n_classes); the joined vectors are mixed where ``batch`` names partners."""
        return self.head(mix_pooled(self.encode(streams, clock).values.squeeze(1), batch))

    def encode(self, streams: Streams, clock: Clock) -> Stream:
        """One step that holds the pooled vectors: values (B, 1, modalities * hidden)."""
        values = torch.cat([self._pool(name, streams[name]) for name in self.names], dim=-1)
        values = values.unsqueeze(1)
        mask = torch.ones_like(values[..., 0], dtype=torch.bool)
        return Stream(values, mask, torch.full_like(values[..., 0], torch.nan))

    def attention(self, streams: Streams, clock: Clock) -> dict[str, Attention]:
        """Pooling weights of each modality."""
        return {
            name: Attention(self.poolings[name].weights(self._project(name, stream)), stream.time)
            for name, stream in streams.items()
        }

    def _project(self, name: str, stream: Stream) -> Stream:
        return stream._replace(values=self.projections[name](stream.values))

    def _pool(self, name: str, stream: Stream) -> Tensor:
        """(B, D)."""
        pooled = self.poolings[name](self._project(name, stream))
        return self._or_absent(name, stream.mask.any(dim=1), pooled)


def build(options: Options, widths: dict[str, int], n_classes: int) -> ConcatFusion:
    """The fusion of encoders of these widths."""
    return ConcatFusion(widths, n_classes, options.hidden)
