"""Which models may answer which clips: none is asked about a clip that it was trained on, where
another can say, and none is scored on one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from emotion.data.examples import named
from emotion.errors import UserError
from emotion.models.met import Standing
from emotion.prediction.inputs import Item
from emotion.prediction.members import Member
from emotion.telling import note

TABLE = "table"  # the corpus of one's own clips


class Judges(NamedTuple):
    """What each model knows of each clip, and whom to ask."""

    standing: np.ndarray  # (clips, models) ``Standing``
    may: np.ndarray  # (clips, models) bool
    left_out: int = 0  # further clips, which no model may answer

    def rows(self, members: Sequence[Member]) -> list[dict[str, Any]]:
        """One row per model for the report: how many clips it knows, and how many it answers."""
        return [
            {
                "weights": str(member.checkpoint.path),
                "temperature": member.temperature,
                "told": member.checkpoint.met is not None,
                "trained_on": int((self.standing[:, number] == Standing.TRAINED).sum()),
                "validated_on": int((self.standing[:, number] == Standing.VALIDATED).sum()),
                "asked": int(self.may[:, number].sum()),
            }
            for number, member in enumerate(members)
        ]


def judges_of(items: Sequence[Item], members: Sequence[Member], scored: bool) -> Judges:
    """Ask those to whom a clip is new, else those whose epoch it chose; those that were trained on
    it only where no other is left and nothing is scored.
    """
    standing = np.array([[_standing(item, member) for member in members] for item in items])
    standing = standing.reshape(len(items), len(members))
    may = standing == standing.min(axis=1, keepdims=True)
    if scored:
        may &= standing < Standing.TRAINED
    return Judges(standing, may)


def judged(items: list[Item], members: Sequence[Member], scored: bool) -> tuple[list[Item], Judges]:
    """The clips that a model is left for, and the models asked; what that means, on stderr.

    Raises:
        UserError: scores are asked for, and every model was trained on every clip.
    """
    judges = judges_of(items, members, scored)
    left = judges.may.any(axis=1)
    if not left.any():
        raise UserError(
            f"nothing to score: {_every(members)} trained on each of the {len(items)} clips or on "
            "others of its speaker; give clips that are new, or leave out --report"
        )
    _tell(items, members, judges, left)
    kept = [item for item, answered in zip(items, left, strict=True) if answered]
    return kept, Judges(judges.standing[left], judges.may[left], int((~left).sum()))


def own_validation_clips(items: Sequence[Item], members: Sequence[Member]) -> np.ndarray:
    """(clips, models) bool: the clips that a model's temperature is fitted on, those that chose its
    epoch; where there are none among them, those that are new to it.
    """
    standing = judges_of(items, members, scored=False).standing
    own = standing == Standing.VALIDATED
    return np.where(own.any(axis=0), own, standing == Standing.NEW)


def _standing(item: Item, member: Member) -> Standing:
    met = member.checkpoint.met
    if met is None:
        return Standing.NEW
    if not item.corpus:  # a file may be anybody's
        anybody = ("", *met.people)
        tables = TABLE in (member.checkpoint.features.get("corpus"), *met.people)
        places = [named(people, place) for people in anybody for place in item.places(tables)]
        return met.standing(places, item.clip.speaker or "")
    people = member.checkpoint.people(item.corpus)
    places = [named(people, place) for place in item.places(tables=False)]
    return met.standing(places, named(people, item.clip.speaker or ""))


def _tell(
    items: Sequence[Item], members: Sequence[Member], judges: Judges, left: np.ndarray
) -> None:
    trained = judges.standing == Standing.TRAINED
    every = trained.all(axis=1)
    some = trained.any(axis=1) & ~every
    untold = [member.name for member in members if member.checkpoint.met is None]
    validated = (judges.may & (judges.standing == Standing.VALIDATED)).any(axis=1)
    if untold:
        note(f"{untold[0]} does not say which clips it was trained on: it may know these")
    if some.any():
        asked = judges.may[some].sum(axis=1)
        each = " to ".join(map(str, sorted({asked.min(), asked.max()})))
        note(
            f"{some.sum()} of {len(items)} clips are answered only by the models that were not "
            f"trained on them or their speaker ({each} of {len(members)})"
        )
    if every.any():
        told = "left out" if not left.all() else "answered better than new ones would be"
        note(
            f"{every.sum()} of {len(items)} clips are {told}: {_every(members)} trained on them or "
            "on others of their speaker"
        )
    if validated.any():
        note(f"{validated.sum()} of {len(items)} clips chose the epoch of the models that answer")


def _every(members: Sequence[Member]) -> str:
    return "the model was" if len(members) == 1 else "every model was"
