"""A small made-up features folder, written through FeatureStore: no media, no extraction.

Each modality carries the class of its own label: a bright band in the spectrogram, the colour of a
square in the face crops, a direction in the embeddings and in the words.
"""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from emotion.clock import FRAME_SECONDS
from emotion.corpora.qia2020 import EMOTIONS
from emotion.inputs.audio import ANALYSIS
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.store import FeatureStore
from emotion.inputs.vectors import Vectors, without_times
from emotion.records import Record

START = 0.32  # seconds of silence before the trimmed speech
EVERY = ("speech", "video", "embedding", "text")
SETTINGS = {
    "face_stride": 8,
    "face_clock": "clip",
    "vggface": "0123abcd",
    "audio": ANALYSIS,
}


@dataclass
class Corpus:
    """What is made; see ``make_features``."""

    clips: dict[str, int] = field(default_factory=lambda: {"train": 14, "val": 9})
    frames: tuple[int, int] = (36, 64)  # spectrogram frames of a clip, inclusive
    words: tuple[int, int] = (1, 6)
    text_dim: int = 12
    n_classes: int = 7
    modalities: tuple[str, ...] = EVERY
    absent: dict[str, set[int]] = field(default_factory=dict)  # modality -> clips without it
    unlabelled: dict[str, set[int]] = field(default_factory=dict)  # label or "test" split's clips
    speakers: int = 0
    noise: float = 1.0
    seed: int = 0
    settings: dict = field(default_factory=lambda: dict(SETTINGS))

    @property
    def class_names(self) -> tuple[str, ...]:
        return EMOTIONS[: self.n_classes]


def make_features(root: Path, **options) -> FeatureStore:
    """Write the splits of ``Corpus(**options)`` under ``root``."""
    corpus = Corpus(**options)
    store = FeatureStore(root)
    for number, (split, count) in enumerate(corpus.clips.items()):
        rng = np.random.default_rng((corpus.seed, number))
        records = [_write_clip(store, corpus, split, index, rng) for index in range(count)]
        store.write_manifest(split, records)
        store.write_failures(split, [])
    store.write_description(
        {
            "corpus": "made_up",
            "class_names": list(corpus.class_names),
            "settings": corpus.settings,
            "versions": {},
        }
    )
    return store


def _write_clip(
    store: FeatureStore, corpus: Corpus, split: str, index: int, rng: np.random.Generator
) -> Record:
    label = index % corpus.n_classes
    frames = int(rng.integers(corpus.frames[0], corpus.frames[1] + 1))
    words = int(rng.integers(corpus.words[0], corpus.words[1] + 1))
    stem = f"{split}{index:03d}"
    state = {
        name: "ok" if name in corpus.modalities and index not in corpus.absent.get(name, ()) else no
        for name, no in zip(EVERY, ("silent", "no_face", "skipped", "absent"), strict=True)
    }
    track = face_track(label, frames, corpus.noise, rng)
    made = {
        "speech": lambda: spectrogram(label, frames, corpus.noise, rng),
        "embedding": lambda: directions(label, len(track.time), 512, corpus.noise, rng),
    }
    if state["speech"] == "ok":
        store.write(split, "speech", stem, made["speech"]().astype(np.float16))
    if state["embedding"] == "ok":
        embedded = made["embedding"]().astype(np.float16)
        store.write(split, "embedding", stem, Vectors(embedded, track.time, track.found))
    if state["video"] == "ok" or state["embedding"] == "ok":
        store.write(split, "video", stem, track)
    if state["text"] == "ok":
        spoken = directions(label, words, corpus.text_dim, corpus.noise, rng)
        store.write(split, "text", stem, without_times(spoken))
    return Record(
        id=stem,
        stem=stem,
        speaker=f"{index % corpus.speakers:02d}" if corpus.speakers else "",
        **{
            name: "" if index in corpus.unlabelled.get(name, ()) else corpus.class_names[label]
            for name in ("integrated", "face", "speech")
        },
        duration=START + frames * FRAME_SECONDS,
        states=state,
        facts={
            "start": START,
            "end": START + frames * FRAME_SECONDS,
            "frames": frames,
            "face_frames": len(track.time),
            "face_coverage": float(track.found.mean()),
            "words": words,
            "peak_db": round(float(rng.uniform(-20, 20)), 2) if state["speech"] == "ok" else None,
        },
    )


def spectrogram(label: int, frames: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """(128, frames) in [0, 1] with a bright band whose height is the class."""
    values = rng.uniform(0.0, 0.3 * noise, (128, frames))
    values[18 * label : 18 * label + 12] += 0.6
    return values


def face_track(label: int, frames: int, noise: float, rng: np.random.Generator) -> FaceTrack:
    """A crop every 8 frames: a square, left of the middle, whose colour is the class."""
    times = (START + np.arange(0, frames, 8) * FRAME_SECONDS).astype(np.float32)
    found = rng.random(len(times)) > 0.2 * noise
    found[0] = True
    pictures = [_picture(label, noise, rng) for _ in range(int(found.sum()))]
    return FaceTrack(
        jpeg=[cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures],
        crop=(np.cumsum(found) - 1).astype(np.int32),
        time=times,
        box=np.where(found[:, None], np.float32([10, 10, 90, 90]), np.float32(np.nan)),
        probability=np.where(found, 0.99, 0.0).astype(np.float32),
        found=found,
    )


def _picture(label: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """(160, 160, 3): channels are on or off as the bits of class + 1 say."""
    picture = rng.integers(0, 1 + int(60 * noise), (160, 160, 3)).astype(np.uint8)
    picture[30:130, 20:80] += np.uint8([190 * ((label + 1) >> bit & 1) for bit in range(3)])
    return picture


def directions(
    label: int, count: int, width: int, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """(count, width) float32: noise around a direction that belongs to the class."""
    centre = np.random.default_rng(label).standard_normal(width)
    values = centre + 0.5 * noise * rng.standard_normal((count, width))
    return (values / np.sqrt(width)).astype(np.float32)
