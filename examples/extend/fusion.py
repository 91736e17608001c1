"""Another fusion in one file: each modality is weighed by a gate that sees all of them.

    python train.py --extend examples/extend/fusion.py --mode multimodal --fusion gated ...

Arevalo et al. 2017, "Gated multimodal units for information fusion", arXiv 1702.01992.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion.command_line import flag
from emotion.networks.attention import AttentionPooling, Head, MeanPooling
from emotion.networks.fusion import Attention, Fusion, Streams
from emotion.records import Clock, Stream

FUSIONS = {"gated": __name__}


@dataclass(frozen=True)
class Options:
    """What is written here becomes a flag of train.py and is kept in the checkpoint."""

    hidden: int = flag(128, "width of the gated vectors", "model", low=1, high=8192)


class GatedFusion(Fusion):
    """The pooled modalities, each through a tanh, summed by the shares of a softmax gate."""

    def __init__(self, widths: dict[str, int], n_classes: int, hidden: int) -> None:
        super().__init__(widths, hidden)
        self.poolings = nn.ModuleDict({name: AttentionPooling(hidden) for name in self.names})
        self.gate = nn.Linear(len(self.names) * hidden, len(self.names))
        self.head = Head(MeanPooling(), hidden, n_classes, dropout=0.2)

    def encode(self, streams: Streams, clock: Clock) -> Stream:
        """One step that holds the gated sum."""
        pooled, shares = self._gated(streams)
        values = (shares.unsqueeze(2) * pooled.tanh()).sum(1, keepdim=True)
        mask = torch.ones_like(values[..., 0], dtype=torch.bool)
        return Stream(values, mask, torch.full_like(values[..., 0], torch.nan))

    def attention(self, streams: Streams, clock: Clock) -> dict[str, Attention]:
        """What each modality's pooling looks at."""
        return {
            name: Attention(self.poolings[name].weights(self._project(name, stream)), stream.time)
            for name, stream in streams.items()
        }

    def _project(self, name: str, stream: Stream) -> Stream:
        return stream._replace(values=self.projections[name](stream.values))

    def _gated(self, streams: Streams) -> tuple[Tensor, Tensor]:
        """Pooled vectors (B, modalities, hidden), tokens for those that are absent; and shares."""
        pooled = [
            self._or_absent(
                name,
                streams[name].mask.any(dim=1),
                self.poolings[name](self._project(name, streams[name])),
            )
            for name in self.names
        ]
        return torch.stack(pooled, 1), self.gate(torch.cat(pooled, 1)).softmax(1)


def build(options: Options, widths: dict[str, int], n_classes: int) -> GatedFusion:
    """The fusion of encoders of these widths."""
    return GatedFusion(widths, n_classes, options.hidden)
