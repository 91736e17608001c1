"""One clip to its features. The same code serves preprocessing and prediction."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from emotion.corpora.clip import Clip
from emotion.errors import UserError, first_line
from emotion.frozen.vggface import FaceEmbedder
from emotion.inputs.audio import (
    ANALYSIS,
    FRAME_SECONDS,
    HOP_LENGTH,
    SAMPLE_RATE,
    Speech,
    extract_speech,
)
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.faces import DETECT_SECONDS, FaceDetector, track_faces
from emotion.inputs.video import MediaError, MediaInfo, probe, read_frames, read_waveform
from emotion.inputs.words import TextError, read_word_embeddings

T = TypeVar("T")
LEAST_FOUND = 0.1  # share of the sampled times
EMBED_ROWS = 256  # crops decoded at once, so that a long clip stays small in memory


@dataclass(frozen=True)
class FeatureSettings:
    """All that decides what the features of a clip are."""

    denoise: str = "none"
    face_stride: int = 8  # mel frames between two crops
    jpeg_quality: int = 88
    vggface: str | None = None  # fingerprint of the embedding weights
    text: str | None = None  # name and fingerprint of what embedded the transcripts
    audio: str = ANALYSIS


@dataclass
class Tools:
    """The networks a worker uses, built when first wanted."""

    weights: Path | None = None
    device: str = "cpu"
    faces: bool = True  # False where nobody reads them: the video is then left alone

    @cached_property
    def detector(self) -> FaceDetector | None:
        """MTCNN, where faces are wanted."""
        return FaceDetector(self.device) if self.faces else None

    @cached_property
    def embedder(self) -> FaceEmbedder | None:
        """VGG-Face, where there are weights."""
        return FaceEmbedder(self.weights, self.device) if self.weights else None


class Interval(NamedTuple):
    """The part of a clip that features describe."""

    start: float  # seconds
    end: float
    frames: int  # mel frames


NO_INTERVAL = Interval(0.0, 0.0, 0)


@dataclass
class ClipFeatures:
    """What was extracted of a clip; None where there is no such thing: ``states`` says why."""

    duration: float = 0.0
    interval: Interval = NO_INTERVAL
    speech: np.ndarray | None = None  # float16 (128, T)
    peak_db: float | None = None  # of the speech: what is 1 in it
    faces: FaceTrack | None = None
    embedding: np.ndarray | None = None  # float16 (F, 512)
    text: np.ndarray | None = None  # float32 (W, D)
    states: dict[str, str] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)  # (stage, reason)


def extract(clip: Clip, settings: FeatureSettings, tools: Tools) -> ClipFeatures:
    """All features of one clip. What cannot be read is a failure of its stage; the rest is kept."""
    features = ClipFeatures()
    _attempt(features, "text", lambda: _extract_text(features, clip.text))
    if clip.path is None:  # a transcript alone
        features.states |= dict.fromkeys(("speech", "video", "embedding"), "absent")
        return features
    info = _attempt(features, "open", lambda: probe(clip.path))
    if info is None:
        features.states |= dict.fromkeys(("speech", "video", "embedding"), "failed")
        return features
    _attempt(features, "speech", lambda: _extract_speech(features, clip.path, info, settings))
    _attempt(features, "video", lambda: _extract_faces(features, clip.path, info, settings, tools))
    _attempt(features, "embedding", lambda: _extract_embedding(features, tools))
    return features


def sampled_times(interval: Interval, face_stride: int) -> np.ndarray:
    """Times of the face crops, (F,) seconds: every ``face_stride`` mel frames from the start."""
    return interval.start + np.arange(0, interval.frames, face_stride) * FRAME_SECONDS


def shows_face(found: np.ndarray) -> bool:
    """Whether the sampled times (F,) of a clip show a face often enough to say anything about it.

    Where none is found the nearest crop stands in. A single profile for all of ten seconds is a
    picture repeated 75 times, which a model takes for a face that never moves.
    """
    return bool(found.size) and float(found.mean()) >= LEAST_FOUND


def detect_every(settings: FeatureSettings) -> int:
    """Sampled frames from one detection of the face to the next."""
    return max(1, round(DETECT_SECONDS / (settings.face_stride * FRAME_SECONDS)))


def embed_faces(track: FaceTrack, embedder: FaceEmbedder) -> np.ndarray:
    """float16 (F, 512) embeddings of stored crops; a row without a face repeats its crop's."""
    unique = np.arange(len(track.jpeg))
    stored = track._replace(crop=unique.astype(np.int32))
    parts = np.array_split(unique, max(1, -(-len(unique) // EMBED_ROWS)))
    return np.concatenate([embedder.embed(stored.decode(rows)) for rows in parts])[track.crop]


def _attempt(features: ClipFeatures, stage: str, work: Callable[[], T]) -> T | None:
    try:
        return work()
    except UserError:  # of the weights, not of the clip
        raise
    except Exception as error:  # a broken clip costs itself, whatever a library makes of it
        known = isinstance(error, MediaError | TextError)
        reason = first_line(error) if known else f"{type(error).__name__}: {first_line(error)}"
        features.failures.append((stage, reason))
        features.states[stage] = "failed"
        return None


def _extract_text(features: ClipFeatures, path: Path | None) -> None:
    features.text = read_word_embeddings(path) if path else None
    missing = "empty" if path else "absent"
    features.states["text"] = missing if features.text is None else "ok"


def _extract_speech(
    features: ClipFeatures, path: Path, info: MediaInfo, settings: FeatureSettings
) -> None:
    features.duration = info.duration
    features.interval = _whole(info.duration)
    features.states["speech"] = "absent"
    if not info.has_audio:
        return
    waveform = read_waveform(path)
    features.duration = max(info.duration, len(waveform) / SAMPLE_RATE)
    features.interval = _whole(features.duration)
    speech: Speech | None = extract_speech(waveform, settings.denoise)
    features.states["speech"] = "ok" if speech else "silent"
    if speech:
        features.speech, features.peak_db = speech.log_mel, speech.peak_db
        features.interval = Interval(speech.start, speech.end, speech.log_mel.shape[1])


def _extract_faces(
    features: ClipFeatures,
    path: Path,
    info: MediaInfo,
    settings: FeatureSettings,
    tools: Tools,
) -> None:
    features.states["video"] = "absent"
    if not info.has_video:
        return
    if tools.detector is None:
        features.states["video"] = "skipped"
        return
    times = sampled_times(features.interval, settings.face_stride)
    frames = read_frames(path, times)
    every = detect_every(settings)
    track = track_faces(times, frames, tools.detector, settings.jpeg_quality, every)
    features.faces = track
    features.states["video"] = "ok" if shows_face(track.found) else "no_face"


def _extract_embedding(features: ClipFeatures, tools: Tools) -> None:
    if features.states["video"] != "ok":
        features.states["embedding"] = "absent"
    elif tools.embedder is None:
        features.states["embedding"] = "skipped"
    else:
        features.embedding = embed_faces(features.faces, tools.embedder)
        features.states["embedding"] = "ok"


def _whole(duration: float) -> Interval:
    """A clip without speech keeps its whole length, on the same clock."""
    return Interval(0.0, duration, 1 + int(duration * SAMPLE_RATE) // HOP_LENGTH)
