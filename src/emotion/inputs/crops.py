"""Face crops: one every ``face_stride`` spectrogram frames of the whole clip, whoever speaks when.

Kept as JPEG (``FaceTrack``).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from emotion.clock import FRAME_SECONDS
from emotion.command_line import flag
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.faces import DETECT_SECONDS, FaceDetector, track_faces
from emotion.inputs.feature import Absent, Feature, Reader, Steps, Window
from emotion.inputs.media import Media
from emotion.inputs.sampling import jittered_rows, rows_within, spread_rows
from emotion.inputs.store import checked, load_archive
from emotion.records import ClipFeatures

CLOCK = "clip"  # an earlier version sampled the trimmed speech alone
CROP_SETTINGS = ("face_stride", "face_clock", "face_align")  # of what is made of crops, too
LEAST_FOUND = 0.1  # share of the sampled times


@dataclass(frozen=True)
class Extraction:
    """What the crops are."""

    face_stride: int = flag(8, "mel frames (16 ms) between two face crops", "features", low=1)
    align: bool = flag(
        False, "turn the face crops so that the eyes are level and at fixed places", "features"
    )


@dataclass(frozen=True)
class Options:
    """How crops are read."""

    face_frames: int = 16  # crops per clip
    face_size: int = flag(112, "pixels of a crop for resnet3d", "model", low=16, high=160)


class Crops(Feature):
    """See the module."""

    name, folder = "video", "video"
    settings = CROP_SETTINGS
    backdrop = "faces"
    facts = ("face_frames", "face_coverage")
    kept = ("ok", "no_face")
    reasons = {
        "absent": "has no video",
        "no_face": "shows no face",
        "failed": "has no readable video",
    }

    def describe(self, options: Extraction) -> dict[str, Any]:
        """The spacing of the crops, and what they cover."""
        return {
            "face_stride": options.face_stride,
            "face_clock": CLOCK,
            "face_align": options.align,
        }

    def open(self, settings: dict[str, Any], options: Any, device: str) -> FaceDetector:
        """MTCNN."""
        return FaceDetector(device)

    def extract(self, media: Media, settings: dict[str, Any], tools: FaceDetector) -> FaceTrack:
        """The face at every sampled time."""
        if not media.info.has_video:
            raise Absent("absent")
        times = sampled_times(media.duration, settings["face_stride"])
        frames = media.frames(times)
        every = detect_every(settings["face_stride"])
        align = bool(settings.get("face_align"))  # unknown to earlier versions
        track = track_faces(times, frames, tools, every, align=align)
        if not shows_face(track.found):
            raise Absent("no_face", track)
        return track

    def describe_clip(self, media: Media, value: FaceTrack | None) -> dict[str, float | None]:
        """How many times were sampled, and the share of them in which a face was found."""
        found = np.zeros(0, bool) if value is None else value.found
        coverage = round(float(found.mean()), 4) if len(found) else 0.0
        return {"face_frames": len(found), "face_coverage": coverage}

    def cut(self, value: FaceTrack, window: Window) -> FaceTrack:
        """The crops of the window's times, where they show a face."""
        inside = (value.time >= window.start - 1e-6) & (value.time < window.end)
        rows = np.flatnonzero(inside)
        if not shows_face(value.found[rows]):
            raise Absent("no_face")
        # a row without a face repeats the nearest one, which may lie outside
        crops, crop = np.unique(value.crop[rows], return_inverse=True)
        kept = {
            name: getattr(value, name)[rows] for name in ("time", "box", "probability", "found")
        }
        return FaceTrack(
            jpeg=[value.jpeg[index] for index in crops], crop=crop.astype(np.int32), **kept
        ).shifted(-window.start)

    def write(self, file: BinaryIO, value: FaceTrack) -> None:
        """An npz of the coded crops in a row, and of the track's arrays."""
        arrays = {
            "jpeg": np.frombuffer(b"".join(value.jpeg), np.uint8),
            "jpeg_bytes": np.array([len(coded) for coded in value.jpeg], np.int32),
            **{name: getattr(value, name) for name in FaceTrack._fields if name != "jpeg"},
        }
        np.savez(file, **arrays)

    def read(self, path: Path, clip: ClipFeatures) -> FaceTrack:
        """The crops, coded, and where they are."""
        arrays = load_archive(path)
        ends = np.cumsum(arrays.pop("jpeg_bytes"))
        coded = arrays.pop("jpeg")
        jpeg = [part.tobytes() for part in np.split(coded, ends[:-1])] if len(ends) else []
        track = FaceTrack(jpeg=jpeg, **same_length(arrays))
        if len(track.crop) and not -1 <= track.crop.min() <= track.crop.max() < len(jpeg):
            raise ValueError("it names crops that it does not hold")
        return track

    def shape(self, value: FaceTrack) -> tuple[int, ...]:
        """Colours."""
        return (3,)

    def reader(self, options: Options, shape: tuple[int, ...], store: Any = None) -> "CropReader":
        """Reads ``face_frames`` crops per clip."""
        return CropReader(options)


class CropReader(Reader):
    """A fixed number of crops per clip, from all over it; mirrored half of the time in training."""

    def steps(
        self, clip: ClipFeatures, window: Window | None, generator: np.random.Generator | None
    ) -> Steps:
        """(F, 3, S, S) uint8 RGB."""
        count, size = self.options.face_frames, self.options.face_size
        if clip.record.state("video") != "ok":
            nothing = np.zeros((count, 3, size, size), np.uint8)
            return Steps(nothing, np.zeros(count, bool), np.zeros(count, np.float32))
        track = clip.read("video")
        rows = np.arange(len(track.time))
        if window is not None:
            rows = rows_within(track.time, window)
        elif generator is not None:
            rows = rows[jittered_rows(len(rows), generator)]
        rows = rows[spread_rows(len(rows), count, generator)]
        try:
            pictures = track.decode(rows, size)
        except ValueError:
            checked(clip, "video", False)
            raise
        if generator is not None and generator.random() < 0.5:
            pictures = pictures[:, :, ::-1]
        values = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
        return Steps(values, track.found[rows], track.time[rows])


def sampled_times(duration: float, face_stride: int) -> np.ndarray:
    """Seconds from the clip's start to its end, every ``face_stride`` spectrogram frames."""
    count = max(1, math.ceil(duration / (face_stride * FRAME_SECONDS) - 1e-6))
    return np.arange(count) * face_stride * FRAME_SECONDS


def shows_face(found: np.ndarray) -> bool:
    """Whether the sampled times (F,) of a clip show a face often enough to say anything about it.

    Where none is found the nearest crop stands in. A single profile for all of ten seconds is a
    picture repeated 75 times, which a model takes for a face that never moves.
    """
    return bool(found.size) and float(found.mean()) >= LEAST_FOUND


def detect_every(face_stride: int) -> int:
    """Sampled frames from one detection of the face to the next."""
    return max(1, round(DETECT_SECONDS / (face_stride * FRAME_SECONDS)))


def same_length(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays with one row per step, which are all as many.

    Raises:
        ValueError: they are not.
    """
    if len({len(values) for values in arrays.values()}) > 1:
        raise ValueError("its parts are of unequal length")
    return arrays


FEATURE = Crops()
