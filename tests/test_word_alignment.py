"""Words with times are read at their times: the label is the word that is said while the face
changes its expression.

Made-up clips of 3 s: three words, each one of seven, about a second apart, and a face that goes
from one expression to the other within one of them. Who does not know when the words are said can
only name one of the three: 1/3 + (1 - 1/3)/7 = 42.9 %. The face's and the words' BiLSTM and the
fusion are trained. ``benchmarks/alignment.py --label word`` takes more clips and seeds.
"""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from emotion import registry
from emotion.clock import STEP_SECONDS
from emotion.networks.attention_lstm import LSTMEncoder
from emotion.records import Batch, Clock, Stream
from tests.test_alignment import FACE_SECONDS, GUESS, N_CLASSES, accuracy, train

N_WORDS = 3  # a clip, about 1 s apart
WORD_SECONDS = 0.4
WORD_DIM, FACE_DIM = 32, 64


class Talks(NamedTuple):
    """Made-up clips."""

    batch: Batch
    labels: Tensor  # (B,)
    change: Tensor  # (B,) seconds


def made_up_talks(n_clips: int, seed: int, timed: bool = True) -> Talks:
    """Clips as the head of this file describes; expressions and words look alike in all seeds."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(N_CLASSES, (n_clips, N_WORDS), generator=generator)
    middle = torch.arange(N_WORDS) + 0.4 + 0.2 * torch.rand(n_clips, N_WORDS, generator=generator)
    chosen = torch.randint(N_WORDS, (n_clips,), generator=generator)
    rows = torch.arange(n_clips)
    change = middle[rows, chosen] + WORD_SECONDS * (torch.rand(n_clips, generator=generator) - 0.5)
    words = prototypes(WORD_DIM)[kinds]
    words = words + 0.3 * torch.randn(words.shape, generator=generator)
    time = middle if timed else torch.full_like(middle, torch.nan)
    text = Stream(words, torch.ones(n_clips, N_WORDS, dtype=torch.bool), time)
    steps = int(N_WORDS / STEP_SECONDS) + 1
    clock = Clock(
        torch.ones(n_clips, steps, dtype=torch.bool),
        ((torch.arange(steps) + 0.5) * STEP_SECONDS).expand(n_clips, -1),
    )
    streams = {"face": _faces(change, generator), "text": text}
    return Talks(Batch(streams, clock), kinds[rows, chosen], change)


def prototypes(width: int) -> Tensor:
    """A direction of unit length a class, (7, width)."""
    drawn = torch.randn(N_CLASSES, width, generator=torch.Generator().manual_seed(99))
    return nn.functional.normalize(drawn, dim=-1)


def _faces(change: Tensor, generator: torch.Generator) -> Stream:
    """Embeddings of one of two expressions before the change, and of the other after it."""
    count = len(change)
    before = torch.randint(2, (count, 1), generator=generator)
    after = 1 - before
    time = torch.arange(FACE_SECONDS / 2, N_WORDS, FACE_SECONDS).expand(count, -1)
    shown = torch.where(time < change.unsqueeze(1), before, after)
    values = prototypes(FACE_DIM)[shown]
    values = values + 0.05 * torch.randn(values.shape, generator=generator)
    return Stream(values, torch.ones(time.shape, dtype=torch.bool), time)


class Watcher(nn.Module):
    """Encoders of face and words and a fusion: Talks to logits."""

    def __init__(self, kind: str, hidden: int = 64) -> None:
        super().__init__()
        self.face = LSTMEncoder(FACE_DIM, hidden)
        self.text = LSTMEncoder(WORD_DIM, hidden)
        widths = {"face": self.face.width, "text": self.text.width}
        module = registry.load("FUSIONS", kind)
        self.fusion = module.build(module.Options(hidden), widths, N_CLASSES)

    def forward(self, talks: Talks) -> Tensor:
        """Logits (B, 7)."""
        streams = talks.batch.streams
        encoded = {"face": self.face(streams["face"]), "text": self.text(streams["text"])}
        return self.fusion(encoded, talks.batch.clock)


def test_fusion_finds_the_word_of_the_moment_where_words_have_times():
    model = train(Watcher, "aligned", made_up_talks(768, seed=1), epochs=10)
    assert accuracy(model, made_up_talks(256, seed=2)) >= 0.90


def test_without_times_nobody_can():
    model = train(Watcher, "aligned", made_up_talks(768, seed=1, timed=False), epochs=4)
    unseen = made_up_talks(256, seed=2, timed=False)
    assert accuracy(model, unseen) == pytest.approx(GUESS, abs=0.12)


@pytest.mark.parametrize("kind", ["aligned", "decoder"])
def test_a_clip_is_answered_alike_beside_one_whose_words_have_no_times(kind):
    """A batch mixes both, and a clip may; NaN never reaches the arithmetic."""
    torch.manual_seed(0)
    model = Watcher(kind).eval()
    timed, untimed = made_up_talks(2, seed=3), made_up_talks(2, seed=3, timed=False)
    text = timed.batch.streams["text"]
    time = text.time.clone()
    time[1, 1:] = torch.nan
    mixed = Talks(
        timed.batch._replace(streams={**timed.batch.streams, "text": text._replace(time=time)}),
        *timed[1:],
    )
    with torch.no_grad():
        alone, neither, both = model(timed), model(untimed), model(mixed)
    assert torch.isfinite(both).all()
    torch.testing.assert_close(both[0], alone[0], atol=1e-5, rtol=0)
    assert (alone - neither).abs().max() > 1e-4, "times count"
    loss = nn.functional.cross_entropy(model(mixed), mixed.labels)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
