"""The layout of ``features/``: where a file lies, how it is written whole, and the lists beside it.

===================================  ===============================================================
``<split>/<folder>/<stem>``          one file per clip and feature: see the modules of the features
``<split>/manifest.csv``             one row per clip: names, labels, facts, ``<feature>_state``
``<split>/failures.csv``             what is wrong now
``features.json``                    corpus, class names, settings, package versions
===================================  ===============================================================

A file is complete or absent: it is written beside its place, synced and renamed. Nothing is
pickled. A column that nobody here knows is passed over, one that is missing means that nobody has
looked, so that new features never make an old folder unreadable.
"""

import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from emotion import registry
from emotion.errors import UserError, first_line
from emotion.files import read_csv, read_json, write_atomic, write_csv, write_json
from emotion.inputs.memory import Memory
from emotion.records import ClipFeatures, Record

FORMAT = 1
MOST_BYTES = 1 << 30  # of the arrays of one clip
AGAIN = "remove it and run preprocess.py again"
SPLITS = ("train", "val", "test", "all")
STATE = "_state"  # ends the name of a column that holds the states of a feature
NAMED = ("id", "stem", "speaker", "integrated", "face", "speech", "duration")


class Failure(NamedTuple):
    """One row of ``failures.csv``."""

    stem: str
    stage: str
    reason: str


class FeatureStore:
    """Reads and writes one ``features/`` folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, split: str, feature: str, stem: str, identifier: str = "") -> Path:
        """Where a feature of a clip lies.

        Raises:
            UserError: the name would lead out of the folder.
        """
        made = registry.feature(feature)
        name = (identifier or stem) if made.by_id else stem
        if "/" in name or "\0" in name:
            raise UserError(
                f"{self.root / split}: a clip is called {name!r}, which is no file name; correct "
                "it in the corpus or in manifest.csv"
            )
        return self.root / split / made.folder / f"{name}{made.suffix}"

    def write(self, split: str, feature: str, stem: str, value: Any, identifier: str = "") -> None:
        """Write a feature of a clip: a folder may have come from others, no link is followed."""
        made = registry.feature(feature)
        path = self.path(split, feature, stem, identifier)
        write_atomic(path, lambda file: made.write(file, value), within=self.root)

    # -- lists -----------------------------------------------------------------------------------

    def write_manifest(self, split: str, records: Sequence[Record]) -> None:
        """Replace ``manifest.csv``."""
        facts = _names(record.facts for record in records)
        states = _names(record.states for record in records)
        told = ("sex",) if any(record.sex for record in records) else ()
        heading = [*NAMED, *told, *facts, *(f"{name}{STATE}" for name in states)]
        rows = [
            [
                *record[: len(NAMED)],
                *(getattr(record, name) for name in told),
                *("" if (v := record.facts.get(name)) is None else v for name in facts),
                *(record.state(name) for name in states),
            ]
            for record in records
        ]
        write_csv(self.root / split / "manifest.csv", heading, rows, within=self.root)

    def read_manifest(self, split: str) -> list[Record]:
        """All rows of ``manifest.csv``; none where there is no such file.

        Raises:
            UserError: a column of names is missing, or a value is of the wrong type.
        """
        path = self.root / split / "manifest.csv"
        known = {
            name for feature in registry.feature_names() for name in registry.feature(feature).facts
        }
        return [_parse_record(path, row, known) for row in _read_rows(path, NAMED)]

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


class StoredClip(NamedTuple):
    """The features of one clip of a folder; see ``ClipFeatures``."""

    store: FeatureStore
    split: str
    record: Record
    version: str = ""
    memory: Memory | None = None

    def read(self, feature: str) -> Any:
        """Read one file, or remember what was in it.

        Raises:
            UserError: it is missing or damaged.
        """
        made = registry.feature(feature)
        if self.memory is None or not made.remembered:
            return self.read_with(feature, lambda path: made.read(path, self))
        key = (self.store.root, self.split, feature, self.record.stem)
        return self.memory.read(key, lambda: self._replace(memory=None).read(feature))

    def read_with(self, feature: str, read: Callable[[Path], Any]) -> Any:
        """Read a part of one file, or all of it in another way.

        Raises:
            UserError: it is missing or damaged.
        """
        path = self.path(feature)
        try:
            return read(path)
        except UserError:
            raise
        except FileNotFoundError:
            raise UserError(f"{path}: missing; run preprocess.py again to make it") from None
        except Exception as error:  # numpy raises what zip, zlib and its header parser raise
            raise UserError(f"{path}: damaged ({first_line(error)}); {AGAIN}") from error

    def path(self, feature: str) -> Path:
        """Where a feature lies."""
        return self.store.path(self.split, feature, self.record.stem, self.record.id)

    def place(self, feature: str) -> str:
        """What messages call a feature."""
        return str(self.path(feature))


def checked(clip: ClipFeatures, feature: str, fits: bool) -> None:
    """Refuse a feature that is not of the shape that its record and the others have.

    Raises:
        UserError: it does not fit.
    """
    if not fits:
        place = clip.place(feature)
        raise UserError(f"{place}: damaged, or of other features than the rest; {AGAIN}")


def write_array(file: BinaryIO, values: np.ndarray) -> None:
    """An npy file."""
    np.save(file, values, allow_pickle=False)


def read_array(path: Path) -> np.ndarray:
    """The array of an npy file; nothing in it is ever run."""
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


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


def numbers(values: np.ndarray) -> np.ndarray:
    """Refuse what would stop a training run much later, or never.

    Raises:
        ValueError: not two axes of finite floating point numbers.
    """
    if values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError(f"an array of {values.dtype} {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    return values


def _names(rows: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


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
        and len(set(names)) == len(names)
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


def _parse_record(path: Path, row: dict[str, str], facts: set[str]) -> Record:
    try:
        named = {name: row[name] for name in NAMED}
        duration = float(named.pop("duration"))
        states = {k.removesuffix(STATE): v for k, v in row.items() if k.endswith(STATE)}
        found = {k: _number(v) if v else None for k, v in row.items() if k in facts}
        found_of = {"duration": duration, "states": states, "facts": found}
        return Record(**named, **found_of, sex=row.get("sex", ""))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged row {row}: {error}; {AGAIN}") from None


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)
