"""Vectors of face crops, one a sampled time: what all networks that see a face have in common.

Kept as float16 (F, D). The file holds the vectors alone: their times are those of the crops.
"""

from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from emotion.inputs.crops import CROP_SETTINGS, same_length, shows_face
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.feature import Absent, Window
from emotion.inputs.media import Media
from emotion.inputs.store import load_archive, numbers, read_array, write_array
from emotion.inputs.vectors import VectorFeature, Vectors
from emotion.records import ClipFeatures

EMBED_ROWS = 256  # crops decoded at once, so that a long clip stays small in memory


class Embedder(Protocol):
    """A network that is shown crops."""

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """uint8 (F, 160, 160, 3) RGB to float16 (F, D)."""


class CropVectors(VectorFeature):
    """The base of features that are a vector of every crop; a row without a face repeats its
    crop's.
    """

    suffix = ".npy"
    needs = ("video",)
    backdrop = "faces"
    settings = CROP_SETTINGS

    def extract(self, media: Media, settings: dict[str, Any], tools: Embedder | None) -> Vectors:
        """Of the crops that were just taken, or of those that are stored."""
        track = media.value("video")
        if track is None:
            raise Absent("absent")
        if tools is None:
            raise Absent("skipped")
        return Vectors(embed_faces(track, tools), track.time, track.found)

    def cut(self, value: Vectors, window: Window) -> Vectors:
        """Where the crops show a face."""
        vectors = super().cut(value, window)
        if not shows_face(vectors.found):
            raise Absent("absent")
        return vectors

    def write(self, file: BinaryIO, value: Vectors) -> None:
        """An npy file of the vectors."""
        write_array(file, value.values)

    def read(self, path: Path, clip: ClipFeatures) -> Vectors:
        """With the times of the crops."""
        values = numbers(read_array(path))
        clock = clip.read_with("video", read_clock)
        if len(values) != len(clock["time"]):
            raise ValueError("it has another number of rows than the crops")
        return Vectors(values, clock["time"], clock["found"])


def read_clock(path: Path) -> dict[str, np.ndarray]:
    """Only ``time`` (F,) in seconds and ``found`` (F,) of a clip's crops."""
    return same_length(load_archive(path, ("time", "found")))


def embed_faces(track: FaceTrack, embedder: Embedder) -> np.ndarray:
    """float16 (F, D) vectors of coded crops; a row without a face repeats its crop's."""
    unique = np.arange(len(track.jpeg))
    stored = track._replace(crop=unique.astype(np.int32))
    parts = np.array_split(unique, max(1, -(-len(unique) // EMBED_ROWS)))
    return np.concatenate([embedder.embed(stored.decode(rows)) for rows in parts])[track.crop]
