"""One recording that is there as several files: as sound, as picture, as both.

The files of a take must never become clips of their own: they would sit on both sides of a split,
and a model would be tested on what it was trained on.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from emotion.records import Clip, Labels
from emotion.telling import note


class TakeFile(NamedTuple):
    """A file of a take."""

    take: str  # what the files of one recording share
    rank: int  # the lowest of a take stands for it
    path: Path


def files_below(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Files with one of the (lower-case) suffixes at any depth, sorted; hidden ones left out.

    Copies made on a Mac carry a ``._NAME`` beside every file.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            yield path


def choose_takes(files: Iterable[TakeFile]) -> list[Path]:
    """One file per take, the one of lowest rank (the first of equals), sorted by name."""
    chosen: dict[str, TakeFile] = {}
    for file in files:
        if file.take not in chosen or file.rank < chosen[file.take].rank:
            chosen[file.take] = file
    return sorted((file.path for file in chosen.values()), key=lambda path: path.stem)


def note_passed_over(corpus: str, paths: Sequence[Path], reason: str) -> None:
    """Say how many files are no clips, why, and name the first."""
    if paths:
        count = "1 file" if len(paths) == 1 else f"{len(paths)} files"
        note(f"{corpus}: {count} passed over, {reason}: {paths[0].name}")


def acted_clip(path: Path, speaker: str, emotion: int, sex: str = "") -> Clip:
    """A take of an acted corpus: one label for face, voice and both; no official split, no text."""
    labels = Labels(emotion, emotion, emotion)
    return Clip(path.stem, path.stem, path, "all", speaker, labels, text=None, sex=sex)
