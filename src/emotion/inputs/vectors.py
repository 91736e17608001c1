"""Vectors over time, of whatever network or file: kept with their times, read as they are."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from emotion import registry
from emotion.command_line import flag
from emotion.errors import UserError
from emotion.inputs.feature import Absent, Feature, Reader, Steps, Window
from emotion.inputs.sampling import jittered_rows, rows_within, spread_rows
from emotion.inputs.speaker_norms import SpeakerNorms
from emotion.inputs.store import checked, load_archive, numbers
from emotion.records import ClipFeatures

MOST_VECTORS = 256  # read of a clip; of a longer one as many, at evenly spread times


@dataclass(frozen=True)
class Options:
    """How vectors are read."""

    normalise: str = flag(
        "none",
        "speaker: every value of a step (band, element of a vector) against its mean and spread "
        "over all clips of that speaker, unlabelled ones too",
        "model",
        ("none", "speaker"),
    )


class Vectors(NamedTuple):
    """One vector per step."""

    values: np.ndarray  # floating point (T, D), or (T, L, D) of several layers of a network
    time: np.ndarray  # float32 (T,) seconds of the clip; NaN where a step has none
    found: np.ndarray  # bool (T,), False where the vector only fills a hole


def without_times(values: np.ndarray) -> Vectors:
    """Vectors (T, D) of which nobody knows when they are."""
    return Vectors(values, np.full(len(values), np.nan, np.float32), np.ones(len(values), bool))


class VectorFeature(Feature):
    """The base of features that are vectors: a class below it names and extracts them."""

    remembered = True
    most = MOST_VECTORS
    jitter = True  # whether training cuts a little off at either end of a whole clip

    def cut(self, value: Vectors, window: Window) -> Vectors:
        """The vectors of the window's times; of those without times nobody knows where they are."""
        inside = (value.time >= window.start - 1e-6) & (value.time < window.end)
        if not value.found[inside].any():
            raise Absent("absent")
        cut = Vectors(*(part[inside] for part in value))
        return cut._replace(time=(cut.time - window.start).astype(np.float32))

    def write(self, file: BinaryIO, value: Vectors) -> None:
        """An npz of the three arrays."""
        np.savez(file, **value._asdict())

    def read(self, path: Path, clip: ClipFeatures) -> Vectors:
        """Read them back, checked."""
        arrays = load_archive(path, Vectors._fields)
        if len({len(part) for part in arrays.values()}) != 1:
            raise ValueError("its parts are of unequal length")
        vectors = Vectors(**arrays)
        numbers(vectors.values.reshape(len(vectors.values), -1))
        return vectors

    def shape(self, value: Vectors) -> tuple[int, ...]:
        """(D,) or (L, D)."""
        return value.values.shape[1:]

    def by_speaker(self, options: Any) -> bool:
        """With ``--normalise speaker``."""
        return getattr(options, "normalise", "none") == "speaker"

    def reader(self, options: Any, shape: tuple[int, ...], store: Any = None) -> "VectorReader":
        """Reads vectors of one shape; with the norms of every speaker of ``store``, where they are
        wanted.
        """
        known = self.by_speaker(options) and store is not None
        return VectorReader(options, self, shape, VersionNorms(store, self.name) if known else None)


class VoiceVectors(VectorFeature):
    """The base of those that are of the trimmed speech, ``media.spoken()``: of a part of a longer
    recording they are made anew, for the speech in it is another.
    """

    needs = ("speech",)
    anew = True
    backdrop = "sound"
    reasons = {
        "absent": "has no audio",
        "silent": "has no voice: it is silent",
        "failed": "has no readable audio",
    }

    @property
    def settings(self) -> tuple[str, ...]:
        """What it is made of, and how speech is trimmed."""
        return (self.name, "audio")


class VersionNorms:
    """The norms of every speaker, for the features of a name and for each changed copy of them: a
    voice that is played faster is another person's.
    """

    def __init__(self, store: Any, name: str) -> None:
        self.root = store.root
        records = (record for split in store.splits() for record in store.read_manifest(split))
        known = {other for record in records for other in record.states}
        self.norms = {
            version: SpeakerNorms(store, version, partial(_found, version))
            for version in (name, *registry.copies_of(name, known))
        }

    def apply(self, values: np.ndarray, version: str, speaker: str) -> np.ndarray:
        """float32, in standard deviations from the speaker's mean of each value.

        Raises:
            UserError: the folder has no such copies.
        """
        if version not in self.norms:
            raise UserError(f"{self.root}: has no {version} of the speakers; leave out --tta")
        return self.norms[version].apply(values, speaker)


def _found(name: str, clip: ClipFeatures) -> np.ndarray:
    vectors = clip.read(name)
    return vectors.values[vectors.found]


class VectorReader(Reader):
    """Vectors within the window; a clip without any has one step, which is masked."""

    def __init__(
        self,
        options: Any,
        feature: VectorFeature,
        shape: tuple[int, ...],
        norms: VersionNorms | None = None,
    ) -> None:
        super().__init__(options)
        self.feature = feature
        self.shape = shape
        self.norms = norms

    def steps(
        self, clip: ClipFeatures, window: Window | None, generator: np.random.Generator | None
    ) -> Steps:
        """(T, D) or (T, L, D), in the type that they are stored in."""
        name = self.feature.name
        if clip.record.state(name) != "ok":
            nothing = np.zeros((1, *self.shape), np.float32)
            return Steps(nothing, np.zeros(1, bool), np.full(1, np.nan, np.float32))
        name = self._version(clip, generator)
        vectors = clip.read(name)
        checked(clip, name, vectors.values.shape[1:] == self.shape)
        rows = self._rows(vectors.time, window, generator)
        values = vectors.values[rows]
        if self.norms is not None:
            values = self.norms.apply(values, name, clip.record.speaker)
        return Steps(values, vectors.found[rows], vectors.time[rows])

    def _version(self, clip: ClipFeatures, generator: np.random.Generator | None) -> str:
        """The features, or in training one of them and their copies, or the copy that the clip
        is to be read in.
        """
        name, record = self.feature.name, clip.record
        there = [n for n in registry.copies_of(name, record.states) if record.state(n) == "ok"]
        if generator is None:
            return next((n for n in there if n == f"{name}{clip.version}"), name)
        return (name, *there)[int(generator.integers(len(there) + 1))] if there else name

    def _rows(
        self, time: np.ndarray, window: Window | None, generator: np.random.Generator | None
    ) -> np.ndarray:
        rows = np.arange(len(time))
        if np.isnan(time).all():
            return rows[: self.feature.most]
        if window is not None:
            rows = rows_within(time, window)
        elif generator is not None and self.feature.jitter:
            rows = rows[jittered_rows(len(rows), generator)]
        if len(rows) > self.feature.most:
            rows = rows[spread_rows(len(rows), self.feature.most, generator)]
        return rows
