"""``weights/``: models that this project trained, each a folder with the facts beside it.

==================  ================================================================================
``model.pth``       the checkpoint, its parameters in half precision
``card.json``       what it is, whom it was trained on, what it cannot know, its encoders by name
``README.md``       the model card, for people
``LICENSE``         of the weights, which is that of the data
==================  ================================================================================
"""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from emotion.errors import UserError
from emotion.files import read_json, write_json
from emotion.models.checkpoint import PUBLISHED
from emotion.paths import HOME
from emotion.prediction.inputs import blocked_features
from emotion.prediction.members import Member, load_members
from emotion.telling import note

WEIGHTS = HOME / "weights"
CARD = "card.json"


@dataclass(frozen=True)
class Card:
    """The facts beside a published model."""

    name: str  # what it is, in a few words
    trained_on: str  # whom
    cannot_know: str
    licence: str  # of the weights
    rank: int = 1  # among those in weights/, the least first
    encoders: dict[str, str] = field(default_factory=dict)  # features -> Hugging Face name
    facts: dict[str, Any] = field(default_factory=dict)  # of the run: classes, clips, scores

    @property
    def line(self) -> str:
        """Who answers."""
        return (
            f"answered by {self.name}, trained on {self.trained_on} ({self.licence}); "
            f"it cannot know {self.cannot_know}"
        )


def read_card(folder: Path) -> Card:
    """The card of a folder below ``weights/``.

    Raises:
        UserError: there is none, or it is damaged.
    """
    return read_json(folder / CARD, "fetch the folder again", _parse)


def write_card(folder: Path, card: Card) -> None:
    """Write ``card.json``."""
    write_json(folder / CARD, asdict(card))


def card_beside(checkpoint: Path) -> Card | None:
    """The card of a published checkpoint; None of any other."""
    published = checkpoint.name == PUBLISHED and (checkpoint.parent / CARD).is_file()
    return read_card(checkpoint.parent) if published else None


def load_best(options: Any, device: torch.device) -> list[Member]:
    """The first model of ``weights/`` by rank whose encoder is here or can be fetched.

    Args:
        options: the flags of predict.py.
        device: for it.

    Raises:
        UserError: there is none; the line says what each of them lacks.
    """
    found = sorted((path.parent for path in WEIGHTS.glob(f"*/{CARD}")), key=_place)
    if not found:
        raise UserError(
            "nothing to answer with: give --weights RUN [RUN ...], a checkpoint or run folder; "
            f"{WEIGHTS} holds none"
        )
    for path in found:
        try:
            return _load(path, options, device)
        except UserError as error:
            if len(found) == 1:
                raise
            note(f"{path} cannot be used here: {error}")
    raise UserError(
        f"no model of {WEIGHTS} can be used here, for what the lines above say; an encoder that "
        f"cannot be fetched may be given as a folder ({_flags(found)}), or give --weights"
    )


def _load(path: Path, options: Any, device: torch.device) -> list[Member]:
    members = load_members([str(path)], False, not options.calibrate, options.logs_dir, device)
    if not options.split:
        blocked_features(options, members, [])  # raises where its encoder cannot be had
    return members


def _place(folder: Path) -> tuple[int, str]:
    return read_card(folder).rank, folder.name


def _flags(folders: list[Path]) -> str:
    """How to say where an encoder lies."""
    names = {n: s for folder in folders for n, s in read_card(folder).encoders.items()}
    return ", ".join(
        f"--{name.partition(':')[0]}_encoder FOLDER of {source}" for name, source in names.items()
    )


def _parse(content: dict[str, Any]) -> Card:
    known = {one.name for one in fields(Card)}
    return Card(**{name: value for name, value in content.items() if name in known})
