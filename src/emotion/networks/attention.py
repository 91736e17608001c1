"""Masked building blocks: softmax, attention pooling, a bidirectional LSTM, a classification head.

Every block takes a mask (True where a step carries data) and keeps two promises: what stands in a
masked step changes nothing, and a row without a single valid step gives a finite answer.
"""

import torch
from torch import Tensor, nn

from emotion.networks.mixup import mix_pooled
from emotion.records import Batch, Stream

DROPOUT = 0.3  # in encoders of vectors, fusions and heads
LEAST_VARIANCE = 1e-5  # below it the root's gradient is too steep


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis of (..., N), in float32; masked places get exactly 0.

    A row that is masked throughout gives zeros instead of NaN, forward and backward: that is why
    the fill is the least finite number and not minus infinity.
    """
    lowest = torch.finfo(torch.float32).min
    weights = scores.float().masked_fill(~mask, lowest).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid steps: values (B, N, D), mask (B, N) -> (B, D); zeros where none is."""
    weights = mask.to(values.dtype).unsqueeze(-1)
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


class MeanPooling(nn.Module):
    """Global average over the valid steps: (B, N, D) -> (B, D)."""

    def forward(self, stream: Stream) -> Tensor:
        """Pool to (B, D); zeros for a row without a valid step."""
        return masked_mean(stream.values, stream.mask)

    def weights(self, stream: Stream) -> Tensor:
        """Share of each step, (B, N) float32."""
        mask = stream.mask.float()
        return mask / mask.sum(dim=1, keepdim=True).clamp(min=1.0)


class StatisticsPooling(MeanPooling):
    """Mean and standard deviation (Snyder et al. 2018, x-vectors) over all that steps stand for.

    A step holds the means of its values and of their squares, (B, N, 2 * D), so that what varies
    within a step counts as well.
    """

    def forward(self, stream: Stream) -> Tensor:
        """Pool (B, N, 2 * D) to (B, 2 * D); zeros for a row without a valid step."""
        mean, square = super().forward(stream._replace(values=stream.values.float())).chunk(2, 1)
        deviation = (square - mean.square()).clamp(min=LEAST_VARIANCE).sqrt()
        pooled = torch.cat([mean, deviation * stream.mask.any(dim=1, keepdim=True)], dim=1)
        return pooled.to(stream.values.dtype)


class AttentionPooling(nn.Module):
    """Additive self-attention pooling (Bahdanau et al. 2015, arXiv 1409.0473) over valid steps.

    A row without a valid step pools to zeros: a classifier then answers with its bias, which is
    what it knows without any data.
    """

    def __init__(self, width: int, attention_width: int = 128) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(width, attention_width), nn.Tanh(), nn.Linear(attention_width, 1)
        )

    def forward(self, stream: Stream) -> Tensor:
        """Pool (B, N, D) to (B, D)."""
        weights = self.weights(stream).to(stream.values.dtype)
        return (weights.unsqueeze(1) @ stream.values).squeeze(1)

    def weights(self, stream: Stream) -> Tensor:
        """Share of each step, (B, N) float32, summing to 1 over the valid steps."""
        return masked_softmax(self.score(stream.values).squeeze(-1), stream.mask)


def compact_rank(mask: Tensor) -> Tensor:
    """Place of each step when the valid ones are moved to the front in order, (B, N) int64."""
    valid = mask.long()
    length = valid.sum(dim=1, keepdim=True)
    return torch.where(mask, valid.cumsum(dim=1) - 1, length + (1 - valid).cumsum(dim=1) - 1)


def inverse_permutation(rank: Tensor) -> Tensor:
    """The order that undoes ``rank``, both (B, N) int64 permutations of each row."""
    places = torch.arange(rank.shape[1], device=rank.device).expand_as(rank)
    return torch.zeros_like(rank).scatter(1, rank, places)


def take_steps(values: Tensor, index: Tensor) -> Tensor:
    """Steps of values (B, N, ...) by index (B, M): (B, M, ...)."""
    shape = index.shape + values.shape[2:]
    return values.gather(1, index.view(*index.shape, *[1] * (values.dim() - 2)).expand(shape))


class MaskedBiLSTM(nn.Module):
    """A bidirectional LSTM over the valid steps only: (B, N, D) -> (B, N, 2 * hidden).

    Two one-way LSTMs read the valid steps, moved to the front and for the second one in reverse, so
    padding comes after all that counts and cannot change it. This replaces packed sequences,
    which cannot be exported to ONNX and refuse a clip of zero steps. Holes (frames without a face)
    are skipped rather than fed as blanks: a run of blanks washes out the state, and nothing that
    was made up for a hole should be read as data. The gap in time is not lost to fusion, which
    reads the time of each frame.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width = 2 * hidden
        self.forward_lstm = nn.LSTM(width, hidden, batch_first=True)
        self.backward_lstm = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Run both directions; masked steps of the result are 0."""
        values = values.masked_fill(~mask.unsqueeze(-1), 0.0)
        rank = compact_rank(mask)
        last = mask.sum(dim=1, keepdim=True) - 1
        reverse_rank = torch.where(mask, last - rank, rank)
        outputs = [
            self._run(self.forward_lstm, values, rank),
            self._run(self.backward_lstm, values, reverse_rank),
        ]
        return torch.cat(outputs, dim=-1).masked_fill(~mask.unsqueeze(-1), 0.0)

    @staticmethod
    def _run(lstm: nn.LSTM, values: Tensor, rank: Tensor) -> Tensor:
        lstm.flatten_parameters()  # a DataParallel replica's weights are otherwise scattered
        output, _ = lstm(take_steps(values, inverse_permutation(rank)))
        return take_steps(output, rank)


class Head(nn.Module):
    """Pooling over the valid steps, dropout and one linear layer: Stream -> (B, n_classes)."""

    def __init__(
        self, pooling: nn.Module, width: int, n_classes: int, dropout: float = DROPOUT
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, n_classes)

    def forward(self, stream: Stream, batch: Batch | None = None) -> Tensor:
        """Logits (B, n_classes); pooled vectors are mixed where ``batch`` names partners."""
        return self.classifier(self.dropout(mix_pooled(self.pooling(stream), batch)))
