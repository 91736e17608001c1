"""Fusion by a recurrent decoder that walks along the clip and looks up what it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from emotion.networks.aligned import Nearness, SteppedFusion, seconds_between
from emotion.networks.attention import DROPOUT, AttentionPooling, Head, masked_softmax
from emotion.networks.fusion import Streams
from emotion.records import Clock, Stream

Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]


@dataclass(frozen=True)
class Options:
    """Of the fusion."""

    hidden: int = 128  # common width; the state has twice as much


class Memory(NamedTuple):
    """What the decoder reads of one modality, made once for all of its steps."""

    values: Tensor  # (B, M, D)
    keys: Tensor  # (B, M, A)
    mask: Tensor  # (B, M) bool
    lost: Tensor  # (B, N, M) what distance takes from the score at each step of the clock


class AdditiveAttention(Nearness):
    """Score = v . tanh(W state + U memory) - penalty * seconds."""

    def __init__(self, width: int, state_width: int) -> None:
        super().__init__(n_heads=1)
        self.query = nn.Linear(state_width, width)
        self.key = nn.Linear(width, width, bias=False)  # the query's bias is enough
        self.score = nn.Linear(width, 1, bias=False)

    def memory(self, values: Tensor, mask: Tensor, distance: Tensor) -> Memory:
        """What does not depend on the state: values (B, M, D), distance (B, N, M) seconds."""
        return Memory(values, self.key(values), mask, self.lost(distance).squeeze(1))

    def forward(self, state: Tensor, memory: Memory, lost: Tensor) -> tuple[Tensor, Tensor]:
        """Read at one step, whose ``lost`` is (B, M): context (B, D) and weights (B, M)."""
        scores = self.score((self.query(state).unsqueeze(1) + memory.keys).tanh()).squeeze(2)
        weights = masked_softmax(scores.float() - lost, memory.mask)
        context = weights.to(memory.values.dtype).unsqueeze(1) @ memory.values
        return context.squeeze(1), weights


class DecoderFusion(SteppedFusion):
    """An attention encoder-decoder (Bahdanau, Cho & Bengio 2015, arXiv 1409.0473).

    A GRU walks over the steps of the clip's clock. At each of them its state looks up every
    modality by content and nearness in time, one without times by content alone; what it finds and
    the state make the next state. All states are pooled by attention. No modality comes first: what
    the state asks for follows from all that was read before.
    """

    def __init__(self, widths: dict[str, int], n_classes: int, hidden: int) -> None:
        super().__init__(widths, hidden)
        joined, self.width = len(self.names) * hidden, 2 * hidden
        self.read = nn.ModuleDict(
            {name: AdditiveAttention(hidden, self.width) for name in self.names}
        )
        self.join = nn.Sequential(nn.LayerNorm(joined), nn.Dropout(DROPOUT))
        self.cell = nn.GRUCell(joined, self.width)
        self.head = Head(AttentionPooling(self.width), self.width, n_classes)

    def _decode(self, streams: Streams, clock: Clock) -> tuple[Stream, dict[str, Tensor]]:
        memories = {name: self._memory(name, streams[name], clock) for name in self.names}

        def step(state: Tensor, at: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            inside, *lost = at
            contexts, weights = [], []
            for (name, memory), own in zip(memories.items(), lost, strict=True):
                context, weight = self.read[name](state, memory, own)
                contexts.append(self._or_absent(name, memory.mask.any(dim=1), context))
                weights.append(weight)
            following = self.cell(self.join(torch.cat(contexts, dim=1)), state)
            state = torch.where(inside.unsqueeze(1), following, state)
            return state, (state, *weights)

        start = clock.time.new_zeros(clock.time.shape[0], self.width)
        at = (clock.mask, *(memory.lost for memory in memories.values()))
        states, *weights = walk(step, start, at)
        read = {name: own.unsqueeze(1) for name, own in zip(self.names, weights, strict=True)}
        return Stream(states, clock.mask, clock.time), read

    def _memory(self, name: str, stream: Stream, clock: Clock) -> Memory:
        values = self.projections[name](stream.values)
        return self.read[name].memory(values, stream.mask, seconds_between(clock, stream))


def walk(step: Step, state: Tensor, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Call ``step(state, inputs of one step)`` along the second axis of ``inputs`` (B, N, ...).

    Returns:
        Its outputs, each (B, N, ...). ``step`` gives the next state and them.
    """
    if torch.compiler.is_exporting():  # the number of steps is unknown: a loop in the graph
        from torch._higher_order_ops import scan

        def copying(state: Tensor, at: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            state, outputs = step(state, at)
            return state, tuple(output.clone() for output in outputs)  # none may be the state

        _, outputs = scan(copying, state, [one.transpose(0, 1) for one in inputs])
        return [one.transpose(0, 1) for one in outputs]
    return _loop(step, state, inputs)


@torch.compiler.disable  # it would be unrolled and compiled anew for each number of steps
def _loop(step: Step, state: Tensor, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    outputs = []
    for at in zip(*(one.unbind(dim=1) for one in inputs), strict=True):
        state, output = step(state, at)
        outputs.append(output)
    return [torch.stack(steps, dim=1) for steps in zip(*outputs, strict=True)]


def build(options: Options, widths: dict[str, int], n_classes: int) -> DecoderFusion:
    """The fusion of encoders of these widths."""
    return DecoderFusion(widths, n_classes, options.hidden)
