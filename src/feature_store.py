"""The layout of ``features/``: where a file lies, how it is written whole, and the lists beside it.

=============================================  ====================================================
``<split>/speech/<stem>.npy``                  float16 (128, T) log-mel in [0, 1], 16 ms a frame
``<split>/video/<stem>.npz``                   face crops: ``src.face_track.FaceTrack``
``<split>/video_embedding/<stem>.npy``         float16 (F, 512)
``<split>/text/<FileID>.npz``                  ``word_embed`` float32 (W, D)
``<split>/manifest.csv``, ``failures.csv``     a row a clip; what is wrong now
``features.json``                              corpus, class names, settings, package versions
=============================================  ====================================================

A file is complete or absent: it is written beside its place, synced and renamed. Nothing is
pickled.
"""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from src.errors import UserError, first_line
from src.face_track import FaceTrack

FORMAT = 1
AGAIN = "remove it and run preprocess.py again"
SPLITS = ("train", "val", "test", "all")
MODALITY_FOLDERS = {
    "speech": "speech",
    "video": "video",
    "embedding": "video_embedding",
    "text": "text",
}
PARTIAL = re.compile(r"\.(?P<name>.+)\.\d+\.partial")
SUFFIXES = {"speech": ".npy", "video": ".npz", "embedding": ".npy", "text": ".npz"}


class Record(NamedTuple):
    """One row of a manifest. Times are seconds; states are ok, or why there is no such feature."""

    id: str
    stem: str
    speaker: str
    integrated: str  # class names, empty where unlabelled
    face: str
    speech: str
    duration: float
    start: float  # of the trimmed speech, or of the whole clip
    end: float
    frames: int  # mel frames between start and end
    face_frames: int  # sampled times
    face_coverage: float  # share of them in which a face was found
    words: int
    speech_state: str  # ok, absent (no stream), silent, failed
    video_state: str  # ok, absent (no stream), no_face, failed
    embedding_state: str  # ok, absent (no face), skipped (no weights), failed
    text_state: str  # ok, absent (no file), empty (no words in it), failed
    peak_db: float | None = None  # dB of power, full scale 1, of what is 1 in the spectrogram

    def state(self, modality: str) -> str:
        """State of ``speech``, ``video``, ``embedding`` or ``text``."""
        return getattr(self, f"{modality}_state")


class Failure(NamedTuple):
    """One row of ``failures.csv``."""

    stem: str
    stage: str
    reason: str


class FeatureStore:
    """Reads and writes one ``features/`` folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, split: str, modality: str, name: str) -> Path:
        """Where a feature lies; ``name`` is the stem, or the FileID for text.

        Raises:
            UserError: the name would lead out of the folder.
        """
        if "/" in name or "\0" in name:
            raise UserError(
                f"{self.root / split}: a clip is called {name!r}, which is no file name; correct "
                "it in the corpus or in manifest.csv"
            )
        return self.root / split / MODALITY_FOLDERS[modality] / f"{name}{SUFFIXES[modality]}"

    # -- features --------------------------------------------------------------------------------

    def write_array(self, split: str, modality: str, name: str, values: np.ndarray) -> None:
        """Write speech (128, T) or an embedding (F, 512)."""
        write_atomic(
            self.path(split, modality, name), lambda file: np.save(file, values, allow_pickle=False)
        )

    def read_array(self, split: str, modality: str, name: str) -> np.ndarray:
        """Read what ``write_array`` wrote.

        Raises:
            UserError: the file is missing or damaged.
        """
        path = self.path(split, modality, name)
        return _read(path, lambda: _numbers(_load_array(path)))

    def write_faces(self, split: str, stem: str, track: FaceTrack) -> None:
        """Write the face crops of a clip."""
        arrays = {
            "jpeg": np.frombuffer(b"".join(track.jpeg), np.uint8),
            "jpeg_bytes": np.array([len(coded) for coded in track.jpeg], np.int32),
            **{name: getattr(track, name) for name in FaceTrack._fields if name != "jpeg"},
        }
        write_atomic(self.path(split, "video", stem), lambda file: np.savez(file, **arrays))

    def read_faces(self, split: str, stem: str) -> FaceTrack:
        """Read the face crops of a clip.

        Raises:
            UserError: the file is missing or damaged.
        """
        path = self.path(split, "video", stem)
        return _read(path, lambda: _load_faces(path))

    def read_face_clock(self, split: str, stem: str) -> tuple[np.ndarray, np.ndarray]:
        """Only ``time`` (F,) in seconds and ``found`` (F,) of a clip's crops.

        Raises:
            UserError: the file is missing or damaged.
        """
        path = self.path(split, "video", stem)
        arrays = _read(path, lambda: _same_length(_load_archive(path, ("time", "found"))))
        return arrays["time"], arrays["found"]

    def write_text(self, split: str, identifier: str, words: np.ndarray) -> None:
        """Write word embeddings (W, D)."""
        write_atomic(
            self.path(split, "text", identifier), lambda file: np.savez(file, word_embed=words)
        )

    def read_text(self, split: str, identifier: str) -> np.ndarray:
        """Read word embeddings float32 (W, D).

        Raises:
            UserError: the file is missing or damaged.
        """
        path = self.path(split, "text", identifier)
        return _read(path, lambda: _numbers(_load_archive(path, ("word_embed",))["word_embed"]))

    # -- lists -----------------------------------------------------------------------------------

    def write_manifest(self, split: str, records: Sequence[Record]) -> None:
        """Replace ``manifest.csv``."""
        write_csv(self.root / split / "manifest.csv", Record._fields, records)

    def read_manifest(self, split: str) -> list[Record]:
        """All rows of ``manifest.csv``; none where there is no such file.

        A column that this program does not know is passed over; one with a default may be missing.

        Raises:
            UserError: a column is missing, or a value is of the wrong type.
        """
        path = self.root / split / "manifest.csv"
        needed = [name for name in Record._fields if name not in Record._field_defaults]
        return [_parse_record(path, row) for row in _read_rows(path, needed)]

    def write_failures(self, split: str, failures: Sequence[Failure]) -> None:
        """Replace ``failures.csv``."""
        write_csv(self.root / split / "failures.csv", Failure._fields, failures)

    def read_failures(self, split: str) -> list[Failure]:
        """All rows of ``failures.csv``; none where there is no such file."""
        path = self.root / split / "failures.csv"
        rows = _read_rows(path, Failure._fields)
        return [Failure(*(row[name] for name in Failure._fields)) for row in rows]

    def splits(self) -> list[str]:
        """The splits that have a manifest."""
        return [split for split in SPLITS if (self.root / split / "manifest.csv").is_file()]

    def write_description(self, description: dict[str, Any]) -> None:
        """Replace ``features.json``."""
        text = json.dumps({"format": FORMAT, **description}, indent=2, ensure_ascii=False) + "\n"
        write_atomic(self.root / "features.json", lambda file: file.write(text.encode()))

    def read_description(self) -> dict[str, Any] | None:
        """``features.json``, or None where there is none.

        Raises:
            UserError: the file is damaged or of another version of this program.
        """
        path = self.root / "features.json"
        if not path.is_file():
            return None
        damaged = UserError(f"{path}: damaged; remove the folder and run preprocess.py again")
        try:
            description = json.loads(path.read_text("utf-8"))
            version = description["format"]
        except (ValueError, KeyError, TypeError):
            raise damaged from None
        if version != FORMAT:
            raise UserError(
                f"{path}: features of format {version}, this program reads {FORMAT}; "
                "run preprocess.py into another --features_dir"
            )
        if not {"corpus", "class_names", "settings"} <= description.keys():
            raise damaged
        return description


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Make a file complete or not at all: write beside, sync, rename.

    The bytes are made in memory first, so the file on disk is one sequential write.
    """
    buffer = io.BytesIO()
    write(buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with beside.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and not error.filename:  # a full disk names no file
            error.filename = str(path)
        raise


def remove_partial_files(root: Path, names: Container[str] | None = None) -> None:
    """Sweep away what a killed run left half written below ``root``.

    ``names`` limits it to files that were to be called so: others may be under way elsewhere.
    """
    for folder, _, files in os.walk(root):
        for file in files:
            partial = PARTIAL.fullmatch(file)
            if partial and (names is None or partial["name"] in names):
                (Path(folder) / file).unlink(missing_ok=True)


def _load_array(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _numbers(values: np.ndarray) -> np.ndarray:
    """Refuse what would stop a training run much later, or never."""
    if values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError(f"an array of {values.dtype} {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    return values


def _same_length(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of a clip's face frames, which are all as many."""
    if len({len(values) for values in arrays.values()}) > 1:
        raise ValueError("its parts are of unequal length")
    return arrays


def _load_faces(path: Path) -> FaceTrack:
    arrays = _load_archive(path)
    ends = np.cumsum(arrays.pop("jpeg_bytes"))
    coded = arrays.pop("jpeg")
    jpeg = [part.tobytes() for part in np.split(coded, ends[:-1])] if len(ends) else []
    track = FaceTrack(jpeg=jpeg, **_same_length(arrays))
    if len(track.crop) and not -1 <= track.crop.min() <= track.crop.max() < len(jpeg):
        raise ValueError("it names crops that it does not hold")
    return track


def _load_archive(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in names or archive.files}


def _read(path: Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; run preprocess.py again to make it") from None
    except Exception as error:  # numpy raises what zip, zlib and its header parser raise
        reason = first_line(error)
        raise UserError(f"{path}: damaged ({reason}); {AGAIN}") from error


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file with a heading, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomic(path, lambda file: file.write(text.getvalue().encode()))


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        try:
            rows = list(reader)
        except (ValueError, csv.Error) as error:
            raise UserError(f"{path}: damaged ({first_line(error)}); {AGAIN}") from None
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path}: has no column {missing[0]}; {AGAIN}")
        for row in rows:
            if None in row or None in row.values():
                raise UserError(f"{path}: damaged row {row}; {AGAIN}")
        return rows


def _parse_record(path: Path, row: dict[str, str]) -> Record:
    try:
        return Record(**{name: PARSERS[name](row[name]) for name in Record._fields if name in row})
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged row {row}: {error}; {AGAIN}") from None


def _optional_number(text: str) -> float | None:
    return float(text) if text else None


PARSERS = Record.__annotations__ | {"peak_db": _optional_number}
