"""The records that the parts pass to one another.

``Batch`` and what is in it are NamedTuples of batch-first tensors, so that ``nn.DataParallel``
scatters them (it would hand a dataclass whole to every replica). Shapes: B clips, N steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Labels(NamedTuple):
    """Class indices of one clip; None where nobody labelled it."""

    integrated: int | None = None
    face: int | None = None
    speech: int | None = None


class Named(NamedTuple):
    """What the name of a file says, where a corpus names its files by a scheme."""

    id: str
    speaker: str | None
    labels: Labels
    sex: str = ""  # of the speaker, in the corpus's own word; empty where nobody says


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
    vectors: dict[str, Path] | None = None  # files of the user's own features, by their names
    sex: str = ""  # of the speaker, in the corpus's own word; empty where nobody says
    past: tuple[str, ...] = ()  # transcripts before it in its dialogue, the last one last


@dataclass(frozen=True)
class Corpus:
    """A named list of clips and the class names their label indices point into."""

    name: str
    class_names: tuple[str, ...]
    clips: Sequence[Clip]
    notice: str = ""  # a line that every answer of a model trained on it carries


class Record(NamedTuple):
    """One clip of features/: a row of a manifest. Labels are class names, empty where unknown."""

    id: str
    stem: str
    speaker: str
    integrated: str
    face: str
    speech: str
    duration: float  # seconds
    states: dict[str, str]  # by feature: ok, or why there is none
    facts: dict[str, float | None]  # what the features say of the clip: ``Feature.facts``
    sex: str = ""  # of the speaker, where the corpus says

    def state(self, feature: str) -> str:
        """ok, or why the clip has no such feature; ``missing`` where nobody has looked."""
        return self.states.get(feature, "missing")

    def fact(self, name: str, otherwise: float = 0.0) -> float:
        """A number that a feature says of the clip."""
        value = self.facts.get(name)
        return otherwise if value is None else value


class ClipFeatures(Protocol):
    """The features of one clip, whether they are on disk or were extracted this moment."""

    record: Record
    version: str = ""  # which copy of its features is read, such as @0.9, where there is one

    def read(self, feature: str) -> Any:
        """The value of a feature whose state is ok.

        Raises:
            UserError: its file is missing or damaged.
        """

    def read_with(self, feature: str, read: Callable[[Path], Any]) -> Any:
        """``read`` of a stored feature's file, for a part of it."""

    def place(self, feature: str) -> str:
        """What messages call it: its file."""


class Stream(NamedTuple):
    """What is read of one modality, or what an encoder makes of it: steps over time."""

    values: Tensor  # (B, N, ...): bands of a frame, pixels of a crop, a vector
    mask: Tensor  # (B, N) bool, True where a step carries data
    time: Tensor  # (B, N) float32 seconds from the (cut) clip's start; NaN where a step has none


class Clock(NamedTuple):
    """The steps of 0.512 s that a clip is fused on, whatever it has to be heard or seen.

    They are laid such that one of them begins with the first stream that has times (the speech,
    where it is read): the steps of a spectrogram's encoder are then steps of the clock.
    """

    mask: Tensor  # (B, N) bool, False before the start and after the end of a clip
    time: Tensor  # (B, N) float32 seconds at the middle of each step


class Batch(NamedTuple):
    """Inputs of a model. Made where clips are padded, the clock costs the device no wait."""

    streams: dict[str, Stream]  # by modality
    clock: Clock | None = None  # where modalities are fused
    mix_offset: Tensor | None = None  # (B,) int64: the partner in mixup is so many rows further on
    mix_weight: Tensor | None = None  # (B,) float32: share of the clip, the rest is its partner's
