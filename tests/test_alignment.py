"""Alignment is real: the label is the expression that coincides with a loud stretch of speech.

Made-up clips of 3 s: a face goes through three expressions of 1 s, each one of seven, and half a
second of the speech, within one of them, is loud. Who cannot tell which expression the loud stretch
falls on can only name one of the three: 1/3 + (1 - 1/3)/7 = 42.9 %. Speech goes through a real
EfficientNet-B0, of random weights that stay as they are, so that the test takes seconds; the face's
BiLSTM and the fusion are trained. ``benchmarks/alignment.py`` trains the whole model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from emotion import registry
from emotion.models.evaluate import each_tensor
from emotion.networks.attention_lstm import LSTMEncoder
from emotion.networks.efficientnet import SpectrogramEncoder, build_network
from emotion.networks.fusion import Streams
from emotion.records import Batch, Clock, Stream
from tests.model_batches import clock_of_frames

N_CLASSES = 7
N_EXPRESSIONS = 3  # a clip, 1 s each
GUESS = 1 / N_EXPRESSIONS + (1 - 1 / N_EXPRESSIONS) / N_CLASSES
LOUD_SECONDS = 0.5
N_FRAMES = 192
FRAME_SECONDS = 0.016
FACE_SECONDS = 0.128


class Clips(NamedTuple):
    """Made-up clips; ``speech_values`` are a frozen encoder's, where it has run."""

    batch: Batch
    labels: Tensor  # (B,)
    loud_start: Tensor  # (B,) seconds
    expressions: Tensor  # (B, 3)
    speech_values: Tensor | None = None  # (B, N, C)


def made_up_clips(n_clips: int, seed: int) -> Clips:
    """Clips as the head of this file describes; the seven expressions look alike in all seeds."""
    generator = torch.Generator().manual_seed(seed)
    expressions = torch.randint(N_CLASSES, (n_clips, N_EXPRESSIONS), generator=generator)
    chosen = torch.randint(N_EXPRESSIONS, (n_clips,), generator=generator)
    within = (1.0 - LOUD_SECONDS) * torch.rand(n_clips, generator=generator)
    start = chosen + within
    face, face_time = _faces(expressions, generator)
    frames = torch.arange(N_FRAMES)
    heard = (frames < round(N_EXPRESSIONS / FRAME_SECONDS)).expand(n_clips, -1)
    time = (frames * FRAME_SECONDS).expand(n_clips, -1)
    streams = {
        "speech": Stream(_speech(start, generator).transpose(1, 2), heard, time),
        "face": Stream(face, torch.ones(face.shape[:2], dtype=torch.bool), face_time),
    }
    batch = Batch(streams, clock_of_frames(heard))
    return Clips(batch, expressions[torch.arange(n_clips), chosen], start, expressions)


def _speech(start: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 128, T): noise, louder for half a second; zeros after 3 s, as padding is."""
    time = (torch.arange(N_FRAMES) + 0.5) * FRAME_SECONDS
    loud = (time >= start.unsqueeze(1)) & (time < start.unsqueeze(1) + LOUD_SECONDS)
    noise = 0.1 * torch.randn(len(start), 128, N_FRAMES, generator=generator)
    speech = (0.25 + noise + 0.4 * loud.unsqueeze(1)).clamp(0.0, 1.0)
    return speech * (time < N_EXPRESSIONS)


def _faces(expressions: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(B, F, 512) noisy embeddings of unit length, as much noise as signal; (B, F) seconds."""
    prototypes = torch.randn(N_CLASSES, 512, generator=torch.Generator().manual_seed(99))
    time = torch.arange(FACE_SECONDS / 2, N_EXPRESSIONS, FACE_SECONDS)
    clean = prototypes[expressions[:, time.long()]]
    noisy = clean + torch.randn(clean.shape, generator=generator)
    return nn.functional.normalize(noisy, dim=-1), time.expand(len(expressions), -1)


def rows(clips: Any, index: Tensor) -> Any:
    """Some of the clips, which are a record of a batch and tensors."""
    batch = each_tensor(clips.batch, lambda values: values[index])
    return type(clips)(batch, *[None if field is None else field[index] for field in clips[1:]])


def with_frozen_speech(*sets: Clips) -> list[Clips]:
    """The sets with the values of one random EfficientNet-B0, its batch statistics estimated."""
    torch.manual_seed(0)
    encoder = SpectrogramEncoder(build_network(0)).train()
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain average
    with torch.no_grad():
        encoder(rows(sets[0], torch.arange(64)).batch.streams["speech"])
        encoder.eval()
        values = [
            torch.cat(
                [encoder(rows(clips, i).batch.streams["speech"]).values for i in _chunks(clips)]
            )
            for clips in sets
        ]
    return [clips._replace(speech_values=v) for clips, v in zip(sets, values, strict=True)]


def _chunks(clips: Clips) -> tuple[Tensor, ...]:
    return torch.arange(len(clips.labels)).split(32)


class Aligner(nn.Module):
    """A face BiLSTM and a fusion over speech that is encoded already."""

    def __init__(self, kind: str, hidden: int = 128) -> None:
        super().__init__()
        self.face = LSTMEncoder(512, hidden)
        widths = {"speech": 1280, "face": self.face.width}
        module = registry.load("FUSIONS", kind)
        self.fusion = module.build(module.Options(hidden), widths, N_CLASSES)

    def streams(self, clips: Clips) -> tuple[Streams, Clock]:
        """Encoded modalities and the clock."""
        clock = clips.batch.clock
        speech = Stream(clips.speech_values, clock.mask, clock.time)
        return {"speech": speech, "face": self.face(clips.batch.streams["face"])}, clock

    def forward(self, clips: Clips) -> Tensor:
        """Logits (B, 7)."""
        return self.fusion(*self.streams(clips))

    def pool(self, clips: Clips) -> Tensor:
        """The share of each step of the clock, (B, N)."""
        return self.fusion.head.pooling.weights(self.fusion.encode(*self.streams(clips)))

    def read(self, clips: Clips) -> Tensor:
        """What each step reads of the face, mean over heads: (B, N, F)."""
        return self.fusion._decode(*self.streams(clips))[1]["face"].mean(dim=1)


def train(
    build: Callable[[str], nn.Module],
    kind: str,
    clips: Clips,
    epochs: int,
    seed: int = 0,
    learning_rate: float = 3e-3,
) -> nn.Module:
    """A model (Clips -> logits) of a fusion kind, trained, in evaluation mode."""
    torch.manual_seed(seed)
    model = build(kind)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-4)
    n_steps = epochs * (len(clips.labels) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, n_steps, pct_start=0.1)
    for _ in range(epochs):
        for index in torch.randperm(n_steps // epochs * 32).split(32):
            part = rows(clips, index)
            loss = nn.functional.cross_entropy(model(part), part.labels)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return model.eval()


def accuracy(model: nn.Module, clips: Clips) -> float:
    """Share of the clips answered right."""
    with torch.no_grad():
        answers = torch.cat([model(rows(clips, i)).argmax(dim=1) for i in _chunks(clips)])
    return (answers == clips.labels).float().mean().item()


@pytest.fixture(scope="module")
def clips():
    return with_frozen_speech(made_up_clips(768, seed=1), made_up_clips(256, seed=2))


@pytest.fixture(scope="module", params=["aligned", "decoder"])
def model(request, clips):
    return train(Aligner, request.param, clips[0], epochs=10)


def test_the_task_is_what_it_says():
    clips = made_up_clips(512, seed=3)
    best_guess = (clips.expressions == clips.labels.unsqueeze(1)).float().mean().item()
    assert best_guess == pytest.approx(GUESS, abs=0.04)
    time = (torch.arange(N_FRAMES) + 0.5) * FRAME_SECONDS
    loudness = clips.batch.streams["speech"].values.mean(dim=2)
    centre = time[nn.functional.avg_pool1d(loudness, 31, 1, padding=15).argmax(dim=1)]
    shown = clips.expressions.gather(1, centre.long().clamp(max=2).unsqueeze(1)).squeeze(1)
    assert (shown == clips.labels).float().mean() > 0.99, "the loud stretch tells the expression"


def test_fusion_on_the_clock_finds_the_expression_of_the_loud_moment(model, clips):
    assert accuracy(model, clips[1]) >= 0.90


def test_the_same_face_is_answered_otherwise_where_another_moment_is_loud(model, clips):
    unseen = clips[1]
    start = unseen.loud_start.roll(1)
    shown = unseen.expressions.gather(1, start.long().unsqueeze(1)).squeeze(1)
    speech = unseen.speech_values.roll(1, dims=0)
    moved = unseen._replace(speech_values=speech, labels=shown, loud_start=start)
    assert (moved.labels != unseen.labels).float().mean() > 0.4
    assert accuracy(model, moved) >= 0.90


def test_concat_fusion_cannot_tell_which_expression_it_was(clips):
    concat = train(Aligner, "concat", clips[0], epochs=10)
    assert accuracy(concat, clips[1]) == pytest.approx(GUESS, abs=0.1)


def test_attention_reads_the_face_at_the_right_time(model, clips):
    with torch.no_grad():
        pool, face = model.pool(clips[1]), model.read(clips[1])
    frame_time = clips[1].batch.streams["face"].time
    clock = clips[1].batch.clock
    read = (face * frame_time.unsqueeze(1)).sum(dim=2)  # (B, N) seconds
    assert (read - clock.time).abs().mean() < 0.25, "each step reads the frames of its own time"
    moment = read.gather(1, pool.argmax(dim=1, keepdim=True)).squeeze(1)
    off = (moment - (clips[1].loud_start + LOUD_SECONDS / 2)).abs()
    assert (off < 0.5).float().mean() > 0.8, "and the step that counts is the loud one"
