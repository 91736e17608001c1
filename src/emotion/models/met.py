"""What a model has met: the clips and speakers it was trained on, and those that chose its epoch.

A checkpoint keeps a 64-bit mark of each clip, so that whoever scores it later can tell which clips
are new to it: a score on clips that a model has learnt says nothing about others.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from emotion.data.examples import Parts


class Standing(IntEnum):
    """How well a model knows a clip or its speaker, the less the better a judge of it."""

    NEW = 0
    VALIDATED = 1  # it helped to choose the epoch
    TRAINED = 2


@dataclass(frozen=True)
class Met:
    """Marks of clips and names of speakers; speakers of the run's own corpus only where it is on
    folds, for official splits may share them.

    Clips and speakers of another corpus (``--also_train``) stand behind the name of its people.
    """

    trained: frozenset[int]
    validated: frozenset[int]
    speakers: frozenset[str]
    validated_speakers: frozenset[str]
    people: tuple[str, ...] = ()  # of the further corpora

    def standing(self, clips: Iterable[str], speaker: str) -> Standing:
        """Of a clip that may be any of ``clips`` (``split/stem``)."""
        marks = {mark(clip) for clip in clips}
        if marks & self.trained or speaker in self.speakers:
            return Standing.TRAINED
        if marks & self.validated or speaker in self.validated_speakers:
            return Standing.VALIDATED
        return Standing.NEW

    def __or__(self, other: "Met") -> "Met":
        """What either has met."""
        return Met(
            self.trained | other.trained,
            self.validated | other.validated,
            self.speakers | other.speakers,
            self.validated_speakers | other.validated_speakers,
            tuple(sorted({*self.people, *other.people})),
        )


def mark(clip: str) -> int:
    """64 bits of a hash of ``split/stem``: two of 50,000 clips share one in 1 of 10^10 cases."""
    digest = hashlib.blake2b(clip.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def describe_met(parts: Parts, folds: bool) -> dict[str, Any]:
    """What a checkpoint keeps: int64 marks, and where the run is on folds the speakers."""
    people = {e.source.people for e in parts.train if e.source} - {""}
    described: dict[str, Any] = {"people": sorted(people)}
    for name in ("train", "val"):
        examples = getattr(parts, name)
        marks = sorted(mark(e.place) for e in examples)
        speakers = {e.person for e in examples if folds or e.source} - {""}
        described[name] = torch.tensor(marks, dtype=torch.int64)
        described[f"{name}_speakers"] = sorted(speakers)
    return described


def read_met(described: dict[str, Any]) -> Met:
    """Back from a checkpoint."""
    return Met(
        _marks(described["train"]),
        _marks(described["val"]),
        frozenset(described["train_speakers"]),
        frozenset(described["val_speakers"]),
        tuple(described.get("people", ())),
    )


def _marks(marks: Tensor) -> frozenset[int]:
    return frozenset(marks.tolist())
