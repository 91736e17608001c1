"""What a kind of features is: how it is extracted, stored, read and augmented.

A module of features holds ``FEATURE``, an instance of a class below ``Feature``; ``Options``, the
flags of train.py that decide how it is read; and ``Extraction``, those of preprocess.py that decide
what it is. Either class may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from emotion.inputs.media import Absent as Absent
from emotion.inputs.media import Media
from emotion.records import Clip, ClipFeatures, Corpus, Record, Stream

if TYPE_CHECKING:  # what is stored is read without torch
    from torch import Generator


class Window(NamedTuple):
    """The part of a clip that is read, in seconds of the clip."""

    start: float
    end: float


class Steps(NamedTuple):
    """What is read of one feature of one clip."""

    values: np.ndarray  # (N, ...)
    mask: np.ndarray  # (N,) bool
    time: np.ndarray  # (N,) float32 seconds of the clip; NaN where a step has none


class Reader:
    """Reads one feature of one clip after another, as a model wants it."""

    def __init__(self, options: Any) -> None:
        self.options = options

    def window(self, record: Record, generator: np.random.Generator | None) -> Window | None:
        """The part of a clip that is read of every feature; None where this one cuts nothing.

        Args:
            record: of the clip.
            generator: in training; without, all of a clip is read.
        """
        return None

    def steps(
        self, clip: ClipFeatures, window: Window | None, generator: np.random.Generator | None
    ) -> Steps:
        """A clip's values, or the shape of them with nothing in it where it has none.

        Raises:
            UserError: a file is missing or damaged.
        """
        raise NotImplementedError


SOURCE = "source"  # of a setting: where a network came from, which is not what it is


def agree(found: Any, wanted: Any) -> bool:
    """Whether two settings of features.json are of the same features; a switch that an earlier
    version did not know was off, and of ``NAME@FINGERPRINT`` the name says only where a network
    came from.
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found | {SOURCE: ""} == wanted | {SOURCE: ""}
    if isinstance(found, str) and isinstance(wanted, str):
        return found.rpartition("@")[2] == wanted.rpartition("@")[2]
    return (found or None) == (wanted or None)


class Afterwards(Protocol):
    """Work on many clips at a time, after their media."""

    settings: dict[str, Any]  # what features.json says of it

    def pending(self, corpus: Corpus, known: dict[tuple[str, str], Record]) -> list[Clip]:
        """The clips of ``corpus`` that have such work left; all records are known by split and
        stem.
        """

    def work(
        self, clips: list[Clip], known: dict[tuple[str, str], Record]
    ) -> Iterator[tuple[Clip, Record]]:
        """Do and store it; yields what is then known of each clip."""


class Feature:
    """One kind of features; see the module."""

    name = ""  # in the registry
    folder = ""  # features/<split>/<folder>/<stem><suffix>
    suffix = ".npz"
    by_id = False  # one file for all clips of a FileID
    of_media = True  # taken from the clip's own file, and not from one beside it
    needs: tuple[str, ...] = ()  # features that it is made of
    over_time = True  # whether it is known when its steps are; words: ``is_timed``
    staged = False  # in preprocessing its networks work in a stage of their own: ``afterwards``
    remembered = False  # a named tuple of arrays, small: a run keeps it in memory while it fits
    anew = False  # of a window of a longer recording: extracted from its own sound, not cut out
    backdrop = ""  # what attention to it is drawn upon: sound, faces, or words
    settings: tuple[str, ...] = ()  # names in features.json that decide what a model is shown
    table = ""  # features/<split>/<table>: what ``write_list`` writes
    facts: tuple[str, ...] = ()  # columns of numbers in the manifest
    kept: tuple[str, ...] = ("ok",)  # states in which there is a file
    # state -> what is said of a clip without; ``model``: of a model that wants what is blocked
    reasons: dict[str, str] = {}

    # -- extraction ------------------------------------------------------------------------------

    def describe(self, options: Any) -> dict[str, Any]:
        """What features.json says of it; ``options`` holds the fields of ``Extraction``."""
        return {}

    def is_made(self, settings: dict[str, Any]) -> bool:
        """Whether it is extracted at all under these settings; else its state is ``skipped``."""
        return True

    def lies_beside(self, clip: Clip) -> bool:
        """Whether there is something to take up, where it is not of the media."""
        return False

    def outdated(self, settings: dict[str, Any]) -> str:
        """Why features of such settings cannot be made any more, or nothing."""
        return ""

    def obstacle(self, settings: dict[str, Any], options: Any) -> str:
        """Why it cannot be extracted here as ``settings`` say, in a line, or nothing.

        Raises:
            UserError: what is here in place of it is something else.
        """
        return ""

    def open(self, settings: dict[str, Any], options: Any, device: str) -> Any:
        """The networks that extraction takes, made once in each process that works."""
        return None

    def extract(self, media: Media, settings: dict[str, Any], tools: Any) -> Any:
        """The feature of a clip.

        Raises:
            Absent: it has none.
            MediaError: it cannot be read.
        """
        raise NotImplementedError

    def describe_clip(self, media: Media, value: Any | None) -> dict[str, float | None]:
        """The clip's ``facts``; ``value`` is None where there is no such feature."""
        return {}

    def cut(self, value: Any, window: Window) -> Any:
        """Of a longer recording the part within a window, as a feature of its own.

        Raises:
            Absent: there is nothing in it.
        """
        raise Absent("absent")

    def is_timed(self, settings: dict[str, Any], options: Any) -> bool:
        """Whether windows of a recording have steps of it, as extracted here."""
        return self.over_time

    # -- files -----------------------------------------------------------------------------------

    def write(self, file: BinaryIO, value: Any) -> None:
        """Write what ``extract`` gave."""
        raise NotImplementedError

    def read(self, path: Path, clip: ClipFeatures) -> Any:
        """Read it back; ``clip`` is where its other features are.

        Raises:
            Exception: what numpy, zip and zlib make of a damaged file.
        """
        raise NotImplementedError

    def write_list(self, store: Any, split: str, records: Sequence[Record]) -> None:
        """Write what people are to read of all clips of a split, beside its manifest."""

    # -- training --------------------------------------------------------------------------------

    def afterwards(self, options: Any, corpus: Corpus, store: Any) -> Afterwards | None:
        """A stage after the media of all clips, where there is work that is done many at a time."""
        return None

    def shape(self, value: Any) -> tuple[int, ...]:
        """Of a step: (D,) values, what an encoder is built for, or (L, D) of several layers."""
        raise NotImplementedError

    def by_speaker(self, options: Any) -> bool:
        """Whether a reader wants to know whose clip it is."""
        return False

    def reader(self, options: Any, shape: tuple[int, ...], store: Any = None) -> Reader:
        """Reads steps of a ``shape`` for a model; ``store`` where all clips of a speaker are
        needed.
        """
        raise NotImplementedError

    def augment(self, stream: Stream, options: Any, generator: Generator, fused: bool) -> Stream:
        """Change a batch of it in training, on its device; ``fused``: its clock must stay."""
        return stream
