"""Vectors that the user brings, one file a clip: npy, npz or csv, such as OpenFace's.

They are taken up as they are, with times where the file has them.
"""

import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from emotion.errors import first_line
from emotion.inputs.feature import Absent
from emotion.inputs.media import Media
from emotion.inputs.store import MOST_BYTES, load_archive, numbers, read_array
from emotion.inputs.vectors import Options as Options
from emotion.inputs.vectors import VectorFeature, Vectors
from emotion.inputs.video import MediaError
from emotion.records import Clip, Corpus

TIMES = ("timestamp", "time")  # columns of seconds
SUCCESS = "success"  # OpenFace: 0 where no face was found
NO_VALUES = {*TIMES, SUCCESS, "frame", "face_id", "confidence"}
ACTION_UNITS = ("_r", "_c")  # how the columns of OpenFace's action units end


class VectorsError(MediaError):
    """A file of vectors that cannot be used; the message is one line."""


class OwnVectors(VectorFeature):
    """See the module."""

    of_media = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = name.replace(":", "_")
        self.settings = (name,)
        self.reasons = {
            "absent": f"has no {name}",
            "missing": f"has no {name}; name their files in table.csv, run preprocess.py again",
            "failed": f"has no readable {name}",
            "not_found": f"has {name} in which nothing was found",
        }

    def lies_beside(self, clip: Clip) -> bool:
        """Whether the corpus names a file."""
        return self.name in (clip.vectors or {})

    def extract(self, media: Media, settings: dict[str, Any], tools: None) -> Vectors:
        """Take up the clip's file.

        Raises:
            Absent: the corpus names none, or nothing was found in any row of it.
            VectorsError: it cannot be read.
        """
        path = (media.clip.vectors or {}).get(self.name)
        if path is None:
            raise Absent("absent")
        vectors = read_vectors(path)
        if not vectors.found.any():
            raise Absent("not_found")
        return vectors


def read_vectors(path: Path) -> Vectors:
    """The vectors (T, D) of an npy, npz or csv file.

    An npy of one axis is one vector. An npz holds ``values`` or one array alone, and where they
    are known ``time`` (T,) in seconds and ``found`` (T,). A csv has a heading; ``timestamp`` or
    ``time`` are seconds; of OpenFace's columns the action units are taken, of others all numbers.

    Raises:
        VectorsError: it is missing, damaged or of another form.
    """
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise VectorsError(f"{path.name}: not one of {' '.join(readers)}")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES / 1e9:.1f} GB")
        arrays = readers[path.suffix.lower()](path)
        return _checked(**arrays)
    except Exception as error:  # numpy, zip and csv raise what they raise
        raise VectorsError(f"{path.name}: no usable vectors: {first_line(error)}") from error


def _checked(
    values: np.ndarray, time: np.ndarray | None = None, found: np.ndarray | None = None
) -> Vectors:
    values = np.atleast_2d(np.asarray(values)).astype(np.float32)
    count = len(values)
    time = np.full(count, np.nan) if time is None else time
    found = np.ones(count, bool) if found is None else found
    if time.shape != (count,) or found.shape != (count,):
        raise ValueError(f"{count} vectors, times {time.shape}, found {found.shape}")
    if not values.size:
        raise ValueError("holds no vector")
    return Vectors(numbers(values), time.astype(np.float32), found.astype(bool))


def _read_npy(path: Path) -> dict[str, np.ndarray]:
    return {"values": read_array(path)}


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    arrays = load_archive(path)
    if len(arrays) == 1:
        return {"values": next(iter(arrays.values()))}
    if "values" not in arrays:
        raise ValueError(f"holds {' '.join(arrays)}, none of which is called values")
    return {name: arrays[name] for name in ("values", "time", "found") if name in arrays}


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        heading, *rows = csv.reader(file, skipinitialspace=True)
    heading = [name.strip() for name in heading]
    units = [
        number
        for number, name in enumerate(heading)
        if name.startswith("AU") and name.endswith(ACTION_UNITS)
    ]
    chosen = units or [n for n, name in enumerate(heading) if name not in NO_VALUES]
    table = np.array([[float(row[n]) for n in range(len(heading))] for row in rows if row])
    columns = {name: table[:, n] for n, name in enumerate(heading)}
    arrays = {"values": table[:, chosen]}
    if times := [columns[name] for name in TIMES if name in columns]:
        arrays["time"] = times[0]
    if SUCCESS in columns:
        arrays["found"] = columns[SUCCESS] > 0
    return arrays


def given_vectors(corpus: Corpus) -> dict[str, Any]:
    """What features.json says of the vectors that a corpus brings."""
    return {name: "own" for clip in corpus.clips for name in clip.vectors or ()}


@cache
def feature(name: str) -> OwnVectors:
    """The feature of this name."""
    return OwnVectors(name)
