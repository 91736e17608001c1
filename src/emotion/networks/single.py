"""A model of one modality: an encoder and the head that reads it."""

from torch import Tensor, nn

from emotion.networks.attention import Head
from emotion.networks.presence import encode_present, presence
from emotion.records import Batch, Sequence


class SingleModel(nn.Module):
    """``encoder`` (Batch -> Sequence) and ``head`` (pooling, dropout, linear) of one modality."""

    def __init__(self, mode: str, encoder: nn.Module, head: Head) -> None:
        super().__init__()
        self.mode = mode
        self.encoder = encoder
        self.head = head

    def encode(self, batch: Batch) -> Sequence:
        """The sequence before pooling, values (B, N, D)."""
        # a speech model gets no clip without a voice, and asking would cut a compiled graph in two
        present = None if self.mode == "speech" else presence(batch, self.mode)
        return encode_present(self.encoder, batch, present)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Logits (B, n_classes) under the name of the mode."""
        return {self.mode: self.head(self.encode(batch), batch)}

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """What the pooling attends to: {"pool": (B, N)}, float32, summing to 1 a clip."""
        return {"pool": self.head.pooling.weights(self.encode(batch))}
