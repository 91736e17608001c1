"""Fusion of three encoded sequences: ``aligned`` on the speech clock, or ``concat``.

Both read a dict of ``Sequence`` (or None) by modality, so they can be used and tested without any
encoder. A modality that is masked throughout is replaced by its learned "absent" token.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from emotion.networks.attention import AttentionPooling, Head, MaskedBiLSTM, masked_softmax
from emotion.networks.mixup import mix_pooled
from emotion.records import Batch, Sequence

MODALITIES = ("speech", "face", "text")
N_HEADS = 4
DISTANCE_GAIN = 30.0

Sequences = dict[str, Sequence | None]


class Clock(NamedTuple):
    """The steps that fusion runs on, those of speech, whether or not there is a voice in them."""

    mask: Tensor  # (B, N) bool, False after the end of a clip
    time: Tensor  # (B, N) float32 seconds


class DistanceAttention(nn.Module):
    """Multi-head attention whose scores fall with the distance in time between query and key.

    Score = content (scaled dot product, Vaswani et al. 2017, arXiv 1706.03762) - penalty * seconds.
    Each head learns its penalty: softplus keeps it positive and starts it at 0.69 a second. The
    gain inside lets a few hundred steps move it to 5 a second, where a step sees its own moment:
    on 512 clips (benchmarks/alignment.py --speech frozen --clips 512, 3 seeds) unseen ones are
    answered to 93 % with it, to 82 % with a third of it.
    """

    def __init__(self, width: int, timed: bool, n_heads: int = N_HEADS) -> None:
        super().__init__()
        if width % n_heads:
            raise ValueError(f"width {width} does not divide by {n_heads} heads")
        self.n_heads = n_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # softmax ignores what a bias would add
        self.value = nn.Linear(width, width)
        # words have no times: an idle parameter would stop distributed training
        self.distance = nn.Parameter(torch.zeros(n_heads)) if timed else None

    def penalty(self) -> Tensor:
        """Score lost a second of distance, (heads,), positive."""
        return nn.functional.softplus(DISTANCE_GAIN * self.distance)

    def forward(
        self, query: Tensor, memory: Tensor, mask: Tensor, distance: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Read ``memory`` from each step of ``query``.

        Args:
            query: (B, N, D).
            memory: (B, M, D).
            mask: (B, M) bool.
            distance: (B, N, M) seconds, or None where the memory has no times.

        Returns:
            Context (B, N, D), zeros where ``mask`` has no True, and weights (B, heads, N, M).
        """
        keys, values = self._split(self.key(memory)), self._split(self.value(memory))
        queries = self._split(self.query(query))
        scores = (queries @ keys.transpose(-1, -2)).float() * queries.shape[-1] ** -0.5
        if distance is not None and self.distance is not None:
            scores = scores - self.penalty().view(1, -1, 1, 1) * distance.unsqueeze(1)
        weights = masked_softmax(scores, mask[:, None, None, :])
        context = weights.to(values.dtype) @ values
        return context.transpose(1, 2).flatten(2), weights

    def _split(self, values: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return values.unflatten(2, (self.n_heads, -1)).transpose(1, 2)


class Fusion(nn.Module):
    """What both ways share: projections to one width, absent tokens, the head.

    Args:
        widths: of the encoders' values, by modality.
        hidden: the common width, and the LSTM's a direction.
    """

    def __init__(self, widths: dict[str, int], hidden: int) -> None:
        super().__init__()
        self.projections = nn.ModuleDict(
            {
                # encoders differ in scale by a hundred: without the norm the largest one drowns
                # the others' scores, and a few hundred clips do not suffice to unlearn that
                name: nn.Sequential(nn.LayerNorm(widths[name]), nn.Linear(widths[name], hidden))
                for name in MODALITIES
            }
        )
        self.absent = nn.ParameterDict(
            {name: nn.Parameter(0.02 * torch.randn(hidden)) for name in MODALITIES}
        )

    def forward(self, sequences: Sequences, clock: Clock, batch: Batch | None = None) -> Tensor:
        """Logits (B, n_classes); fused vectors are mixed where ``batch`` names partners."""
        return self.head(self.encode(sequences, clock), batch)

    def _or_absent(self, name: str, present: Tensor, values: Tensor) -> Tensor:
        """``values`` (..., D) where ``present`` (...) is True, elsewhere the absent token."""
        # a where and not an index: the token stays in the graph, as distributed training needs
        token = self.absent[name].to(values.dtype)
        return torch.where(present.unsqueeze(-1), values, token)

    def _all_absent(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self.absent[name].expand(*shape, -1)


class AlignedFusion(Fusion):
    """Attention encoder-decoder on the speech clock (after Xu et al. 2019, arXiv 1909.05645).

    At each speech step the decoder reads the face frames, by content and nearness in time, and the
    words, by content; the three vectors side by side go through a BiLSTM over the steps, whose
    result is pooled by attention. Without a voice the steps carry the absent token and keep their
    times, so the face is still read along the clip.
    """

    def __init__(self, widths: dict[str, int], n_classes: int, hidden: int, dropout: float) -> None:
        super().__init__(widths, hidden)
        self.read = nn.ModuleDict(
            {name: DistanceAttention(hidden, timed=name == "face") for name in ("face", "text")}
        )
        self.join = nn.Sequential(nn.LayerNorm(3 * hidden), nn.Dropout(dropout))
        self.lstm = MaskedBiLSTM(3 * hidden, hidden)
        self.head = Head(AttentionPooling(2 * hidden), 2 * hidden, n_classes, dropout)

    def encode(self, sequences: Sequences, clock: Clock) -> Sequence:
        """The fused steps: values (B, N, 2 * hidden) on the clock."""
        return self._decode(sequences, clock)[0]

    def attention(self, sequences: Sequences, clock: Clock) -> dict[str, Tensor]:
        """Weights, mean over heads: face (B, N, F), text (B, N, W); and of the pooling (B, N)."""
        fused, weights = self._decode(sequences, clock)
        result = {name: value.mean(dim=1) for name, value in weights.items()}
        return result | {"pool": self.head.pooling.weights(fused)}

    def _decode(self, sequences: Sequences, clock: Clock) -> tuple[Sequence, dict[str, Tensor]]:
        query = self._speech_steps(sequences["speech"], clock)
        contexts, weights = [query], {}
        for name in self.read:
            if sequences[name] is None:
                contexts.append(self._all_absent(name, query.shape[:2]))
                continue
            context, weights[name] = self._context(name, query, sequences[name], clock)
            contexts.append(context)
        values = self.lstm(self.join(torch.cat(contexts, dim=-1)), clock.mask)
        return Sequence(values, clock.mask, clock.time), weights

    def _speech_steps(self, speech: Sequence | None, clock: Clock) -> Tensor:
        """(B, N, D): the projected speech, or its absent token, at each step of the clock."""
        if speech is None:
            return self._all_absent("speech", clock.mask.shape)
        return self._or_absent("speech", speech.mask, self.projections["speech"](speech.values))

    def _context(
        self, name: str, query: Tensor, sequence: Sequence, clock: Clock
    ) -> tuple[Tensor, Tensor]:
        """What each step reads of one modality: (B, N, D), and its weights (B, heads, N, M)."""
        distance = None
        if sequence.time is not None:
            distance = (clock.time.unsqueeze(2) - sequence.time.unsqueeze(1)).abs()
        memory = self.projections[name](sequence.values)
        context, weights = self.read[name](query, memory, sequence.mask, distance)
        present = sequence.mask.any(dim=1, keepdim=True).expand(-1, query.shape[1])
        return self._or_absent(name, present, context), weights


class ConcatFusion(Fusion):
    """Each modality pooled by its own attention, the three vectors side by side, two layers."""

    def __init__(self, widths: dict[str, int], n_classes: int, hidden: int, dropout: float) -> None:
        super().__init__(widths, hidden)
        self.poolings = nn.ModuleDict({name: AttentionPooling(hidden) for name in MODALITIES})
        self.head = nn.Sequential(
            nn.LayerNorm(3 * hidden),
            nn.Dropout(dropout),
            nn.Linear(3 * hidden, 2 * hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * hidden, n_classes),
        )

    def forward(self, sequences: Sequences, clock: Clock, batch: Batch | None = None) -> Tensor:
        """Logits (B, n_classes); the joined vectors are mixed where ``batch`` names partners."""
        return self.head(mix_pooled(self.encode(sequences, clock).values.squeeze(1), batch))

    def encode(self, sequences: Sequences, clock: Clock) -> Sequence:
        """One step that holds the three pooled vectors: values (B, 1, 3 * hidden)."""
        n_clips = clock.mask.shape[0]
        pooled = [self._pool(name, sequences[name], n_clips) for name in MODALITIES]
        values = torch.cat(pooled, dim=-1).unsqueeze(1)
        return Sequence(values, clock.mask.new_ones(n_clips, 1), None)

    def attention(self, sequences: Sequences, clock: Clock) -> dict[str, Tensor]:
        """Pooling weights of each modality at hand, (B, its steps)."""
        given = {name: value for name, value in sequences.items() if value is not None}
        return {
            name: self.poolings[name].weights(self._project(name, value))
            for name, value in given.items()
        }

    def _project(self, name: str, sequence: Sequence) -> Sequence:
        return sequence._replace(values=self.projections[name](sequence.values))

    def _pool(self, name: str, sequence: Sequence | None, n_clips: int) -> Tensor:
        """(B, D)."""
        if sequence is None:
            return self._all_absent(name, (n_clips,))
        pooled = self.poolings[name](self._project(name, sequence))
        return self._or_absent(name, sequence.mask.any(dim=1), pooled)


def drop_modalities(sequences: Sequences, probability: float) -> Sequences:
    """Mask each modality of each clip with ``probability``; never all that a clip has."""
    names = [name for name in MODALITIES if sequences[name] is not None]
    masks = torch.stack([sequences[name].mask.any(dim=1) for name in names], dim=1)  # (B, given)
    drop = torch.rand(masks.shape, device=masks.device) < probability
    nothing_left = ~(masks & ~drop).any(dim=1, keepdim=True)
    drop = drop & ~nothing_left
    kept = {
        name: sequences[name]._replace(mask=sequences[name].mask & ~drop[:, column : column + 1])
        for column, name in enumerate(names)
    }
    return sequences | kept


def build_fusion(
    kind: str, widths: dict[str, int], n_classes: int, hidden: int, dropout: float
) -> AlignedFusion | ConcatFusion:
    """The fusion module ``kind``: "aligned" or "concat"."""
    fusion = AlignedFusion if kind == "aligned" else ConcatFusion
    return fusion(widths, n_classes, hidden, dropout)
