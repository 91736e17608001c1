"""What every corpus module yields, and all that the rest of the program knows of a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Labels(NamedTuple):
    """Class indices of one clip; None where nobody labelled it."""

    integrated: int | None = None
    face: int | None = None
    speech: int | None = None


class Clip(NamedTuple):
    """One recording of one speaker."""

    id: str  # FileID: what a prediction is handed in under
    stem: str  # name of its files under features/<split>/
    path: Path | None  # video or audio file; None for a transcript alone
    split: str  # train, val, test, or all for a corpus without official splits
    speaker: str | None
    labels: Labels
    text: Path | None  # npz with `word_embed` (words, D), where there is one
    transcript: str = ""  # the words spoken, for a text encoder; empty where there are none


def acted_clip(path: Path, speaker: str, emotion: int) -> Clip:
    """A take of an acted corpus: one label for face, voice and both; no official split, no text."""
    labels = Labels(emotion, emotion, emotion)
    return Clip(path.stem, path.stem, path, "all", speaker, labels, text=None)


@dataclass(frozen=True)
class Corpus:
    """A named list of clips and the class names their label indices point into."""

    name: str
    class_names: tuple[str, ...]
    clips: Sequence[Clip]
