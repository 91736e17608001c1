"""Fusion on the clip's clock: each step reads every modality near its own moment."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion.clock import STEP_SECONDS
from emotion.networks.attention import DROPOUT, AttentionPooling, Head, MaskedBiLSTM, masked_softmax
from emotion.networks.fusion import Attention, Fusion, Streams
from emotion.records import Clock, Stream

N_HEADS = 4
DISTANCE_GAIN = 30.0


@dataclass(frozen=True)
class Options:
    """Of the fusion."""

    hidden: int = 128  # LSTM width per direction


class Nearness(nn.Module):
    """Scores fall with the distance in time between who reads and what is read.

    Each head learns its penalty: softplus keeps it positive and starts it at 0.69 a second. The
    gain inside lets a few hundred steps move it to 5 a second, where a step sees its own moment:
    on 512 clips (benchmarks/alignment.py --speech frozen --clips 512, 3 seeds) unseen ones are
    answered to 93 % with it, to 82 % with a third of it.
    """

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.distance = nn.Parameter(torch.zeros(n_heads))

    def penalty(self) -> Tensor:
        """Score lost a second of distance, (heads,), positive."""
        return nn.functional.softplus(DISTANCE_GAIN * self.distance)

    def lost(self, distance: Tensor) -> Tensor:
        """Score lost by distances (B, N, M) in seconds, NaN where unknown: (B, heads, N, M)."""
        # times 0 and not left out: the penalty stays in the graph, as distributed training needs
        return self.penalty().view(1, -1, 1, 1) * distance.nan_to_num().unsqueeze(1)


class DistanceAttention(Nearness):
    """Multi-head attention by content and nearness in time.

    Score = scaled dot product (Vaswani et al. 2017, arXiv 1706.03762) - penalty * seconds.
    """

    def __init__(self, width: int, n_heads: int = N_HEADS) -> None:
        super().__init__(n_heads)
        if width % n_heads:
            raise ValueError(f"width {width} does not divide by {n_heads} heads")
        self.n_heads = n_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # softmax ignores what a bias would add
        self.value = nn.Linear(width, width)

    def forward(
        self, query: Tensor, memory: Tensor, mask: Tensor, distance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read ``memory`` from each step of ``query``.

        Args:
            query: (B, N, D).
            memory: (B, M, D).
            mask: (B, M) bool.
            distance: (B, N, M) seconds, NaN where the memory has no times.

        Returns:
            Context (B, N, D), zeros where ``mask`` has no True, and weights (B, heads, N, M).
        """
        keys, values = self._split(self.key(memory)), self._split(self.value(memory))
        queries = self._split(self.query(query))
        scores = (queries @ keys.transpose(-1, -2)).float() * queries.shape[-1] ** -0.5
        weights = masked_softmax(scores - self.lost(distance), mask[:, None, None, :])
        context = weights.to(values.dtype) @ values
        return context.transpose(1, 2).flatten(2), weights

    def _split(self, values: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return values.unflatten(2, (self.n_heads, -1)).transpose(1, 2)


class SteppedFusion(Fusion):
    """What fusions share whose steps, on the clip's clock, read modalities and then are pooled."""

    head: Head  # pools the steps by attention

    def encode(self, streams: Streams, clock: Clock) -> Stream:
        """The fused steps: values (B, N, D) on the clock."""
        return self._decode(streams, clock)[0]

    def attention(self, streams: Streams, clock: Clock) -> dict[str, Attention]:
        """What a step reads of a modality counts as much as the step does.

        A modality that is laid onto the clock and not read has the shares of the steps.
        """
        fused, weights = self._decode(streams, clock)
        pool = self.head.pooling.weights(fused)
        read = {
            name: Attention((pool.unsqueeze(1) @ value.mean(dim=1)).squeeze(1), streams[name].time)
            for name, value in weights.items()
        }
        return {name: read.get(name, Attention(pool, clock.time)) for name in self.names}

    def _decode(self, streams: Streams, clock: Clock) -> tuple[Stream, dict[str, Tensor]]:
        """The steps, and what each read of the modalities, by name: (B, heads, N, M)."""
        raise NotImplementedError


class AlignedFusion(SteppedFusion):
    """Attention along the clip (after Xu et al. 2019, arXiv 1909.05645).

    The first modality (the speech, where it is read) is laid onto the clip's clock. Each step of it
    reads the others by content and nearness in time, those without times by content alone; the
    vectors side by side go through a BiLSTM over the steps, whose result is pooled by attention.
    Where the first modality has nothing, the steps carry its absent token and keep their times, so
    that the others are still read along the clip.
    """

    def __init__(self, widths: dict[str, int], n_classes: int, hidden: int) -> None:
        super().__init__(widths, hidden)
        self.first, *others = self.names
        self.read = nn.ModuleDict({name: DistanceAttention(hidden) for name in others})
        joined = len(self.names) * hidden
        self.join = nn.Sequential(nn.LayerNorm(joined), nn.Dropout(DROPOUT))
        self.lstm = MaskedBiLSTM(joined, hidden)
        self.head = Head(AttentionPooling(2 * hidden), 2 * hidden, n_classes)

    def _decode(self, streams: Streams, clock: Clock) -> tuple[Stream, dict[str, Tensor]]:
        query = self._query(streams[self.first], clock)
        contexts, weights = [query], {}
        for name in self.read:
            context, weights[name] = self._context(name, query, streams[name], clock)
            contexts.append(context)
        values = self.lstm(self.join(torch.cat(contexts, dim=-1)), clock.mask)
        return Stream(values, clock.mask, clock.time), weights

    def _query(self, stream: Stream, clock: Clock) -> Tensor:
        """(B, N, D): the first modality, or its absent token, at each step of the clock."""
        values = self.projections[self.first](stream.values)
        values, present = onto_clock(stream._replace(values=values), clock)
        return self._or_absent(self.first, present, values)

    def _context(
        self, name: str, query: Tensor, stream: Stream, clock: Clock
    ) -> tuple[Tensor, Tensor]:
        """What each step reads of one modality: (B, N, D), and its weights (B, heads, N, M)."""
        memory = self.projections[name](stream.values)
        distance = seconds_between(clock, stream)
        context, weights = self.read[name](query, memory, stream.mask, distance)
        present = stream.mask.any(dim=1, keepdim=True).expand(-1, query.shape[1])
        return self._or_absent(name, present, context), weights


def seconds_between(clock: Clock, stream: Stream) -> Tensor:
    """How far apart the steps of both are: (B, N, M); NaN where the stream has no times."""
    return (clock.time.unsqueeze(2) - stream.time.unsqueeze(1)).abs()


def onto_clock(stream: Stream, clock: Clock) -> tuple[Tensor, Tensor]:
    """The mean of the steps within each step of the clock: (B, N, D), and where there are any.

    Steps of 0.512 s that begin with the stream lie on the clock as they are.
    """
    offset = stream.time.nan_to_num() - clock.time[:, :1]
    place = (offset / STEP_SECONDS).round().long().clamp(0, clock.time.shape[1] - 1)
    weight = stream.mask.to(stream.values.dtype)
    index = place.unsqueeze(2).expand_as(stream.values)
    shape = (*clock.time.shape, stream.values.shape[2])
    sums = stream.values.new_zeros(shape).scatter_add(1, index, stream.values * weight[..., None])
    count = stream.values.new_zeros(clock.time.shape).scatter_add(1, place, weight)
    return sums / count.clamp(min=1.0).unsqueeze(2), count > 0


def build(options: Options, widths: dict[str, int], n_classes: int) -> AlignedFusion:
    """The fusion of encoders of these widths."""
    return AlignedFusion(widths, n_classes, options.hidden)
