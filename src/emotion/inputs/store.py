"""The layout of ``features/``: where a file lies, how it is written whole, and the lists beside it.

=============================================  ====================================================
``<split>/speech/<stem>.npy``                  float16 (128, T) log-mel in [0, 1], 16 ms a frame
``<split>/video/<stem>.npz``                   face crops: ``emotion.inputs.face_track.FaceTrack``
``<split>/video_embedding/<stem>.npy``         float16 (F, 512)
``<split>/text/<FileID>.npz``                  ``word_embed`` float32 (W, D)
``<split>/manifest.csv``, ``failures.csv``     a row a clip; what is wrong now
``features.json``                              corpus, class names, settings, package versions
=============================================  ====================================================

A file is complete or absent: it is written beside its place, synced and renamed. Nothing is
pickled.
"""

import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from emotion.errors import UserError, first_line
from emotion.files import read_csv, read_json, write_atomic, write_csv, write_json
from emotion.inputs.face_track import FaceTrack

FORMAT = 1
MOST_BYTES = 1 << 30  # of the arrays of one clip
AGAIN = "remove it and run preprocess.py again"
SPLITS = ("train", "val", "test", "all")
MODALITY_FOLDERS = {
    "speech": "speech",
    "video": "video",
    "embedding": "video_embedding",
    "text": "text",
}
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
        path = self.path(split, modality, name)
        self._write(path, lambda file: np.save(file, values, allow_pickle=False))

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
        self._write(self.path(split, "video", stem), lambda file: np.savez(file, **arrays))

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
        arrays = _read(path, lambda: _same_length(load_archive(path, ("time", "found"))))
        return arrays["time"], arrays["found"]

    def write_text(self, split: str, identifier: str, words: np.ndarray) -> None:
        """Write word embeddings (W, D)."""
        path = self.path(split, "text", identifier)
        self._write(path, lambda file: np.savez(file, word_embed=words))

    def read_text(self, split: str, identifier: str) -> np.ndarray:
        """Read word embeddings float32 (W, D).

        Raises:
            UserError: the file is missing or damaged.
        """
        path = self.path(split, "text", identifier)
        return _read(path, lambda: _numbers(load_archive(path, ("word_embed",))["word_embed"]))

    def _write(self, path: Path, write: Callable[[BinaryIO], Any]) -> None:
        """A file of a folder that may have come from somebody else: no link in it is followed."""
        write_atomic(path, write, within=self.root)

    # -- lists -----------------------------------------------------------------------------------

    def write_manifest(self, split: str, records: Sequence[Record]) -> None:
        """Replace ``manifest.csv``."""
        path = self.root / split / "manifest.csv"
        write_csv(path, Record._fields, records, within=self.root)

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
        path = self.root / split / "failures.csv"
        write_csv(path, Failure._fields, failures, within=self.root)

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
        write_json(self.root / "features.json", {"format": FORMAT, **description})

    def read_description(self) -> dict[str, Any] | None:
        """``features.json``, or None where there is none.

        Raises:
            UserError: the file is damaged or of another version of this program.
        """
        path = self.root / "features.json"
        if not path.is_file():
            return None
        mend = "remove the folder and run preprocess.py again"
        return read_json(path, mend, lambda content: _check_description(path, content))


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
    arrays = load_archive(path)
    ends = np.cumsum(arrays.pop("jpeg_bytes"))
    coded = arrays.pop("jpeg")
    jpeg = [part.tobytes() for part in np.split(coded, ends[:-1])] if len(ends) else []
    track = FaceTrack(jpeg=jpeg, **_same_length(arrays))
    if len(track.crop) and not -1 <= track.crop.min() <= track.crop.max() < len(jpeg):
        raise ValueError("it names crops that it does not hold")
    return track


def load_archive(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an npz, or those of ``names``.

    Raises:
        ValueError: together they are larger than any clip's: a small file can unpack to terabytes.
        KeyError: it holds no such array.
        Exception: what numpy, zip and zlib make of a damaged file.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > MOST_BYTES:
        raise ValueError(f"it unpacks to {size / 1e9:.1f} GB, more than {MOST_BYTES / 1e9:.1f}")
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


def _check_description(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """features.json, if it is what this program writes; what it trips over is damage."""
    if content["format"] != FORMAT:
        raise UserError(
            f"{path}: features of format {content['format']}, this program reads {FORMAT}; "
            "run preprocess.py into another --features_dir"
        )
    names, settings = content["class_names"], content["settings"]
    sound = (
        isinstance(content["corpus"], str)
        and isinstance(settings, dict)
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and len(set(names)) == len(names) > 0
    )
    if not sound:
        raise ValueError("not what this program writes")
    return content


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    heading, rows = read_csv(path, AGAIN)
    missing = [name for name in columns if name not in heading]
    if missing:
        raise UserError(f"{path}: has no column {missing[0]}; {AGAIN}")
    return rows


def _parse_record(path: Path, row: dict[str, str]) -> Record:
    try:
        return Record(**{name: PARSERS[name](row[name]) for name in Record._fields if name in row})
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged row {row}: {error}; {AGAIN}") from None


def _optional_number(text: str) -> float | None:
    return float(text) if text else None


PARSERS = Record.__annotations__ | {"peak_db": _optional_number}
