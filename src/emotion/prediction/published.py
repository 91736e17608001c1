"""``weights/``: models that this project trained, which answer where ``--weights`` names none.

==================  ================================================================================
``model.pth``       the checkpoint, its parameters in half precision
``card.json``       what a person is told in a line, and the facts: encoders by name, scores
``README.md``       the model card, for people
``LICENSE``         of the weights, which is that of the data that taught them
==================  ================================================================================

``python -m emotion.prediction.publish`` makes such a folder of a run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from emotion import registry
from emotion.errors import UserError
from emotion.files import read_json
from emotion.models.checkpoint import best_checkpoint
from emotion.paths import HOME
from emotion.prediction.inputs import blocked_features, words_alone
from emotion.prediction.members import Member, load_members
from emotion.telling import note

WEIGHTS = HOME / "weights"
LAST = 1000  # rank of a card that has none
CARD = "card.json"
TOLD = ("what", "taught", "limits")  # of a card, one sentence each


def members_of(options: Any, device: torch.device) -> list[Member]:
    """The models that ``--weights`` names, else the first published one that can be used here.

    Published ones are introduced by a note.

    Raises:
        UserError: nothing is named, and nothing of what is published can be used here.
    """
    if options.weights:
        members = load_members(options.weights, device, temperature=not options.calibrate)
        _introduce(members)
        return members
    # a model of sound leaves words alone without an answer, a model of words a recording
    from_words = bool(words_alone(options))
    folders = [f for f in published(WEIGHTS) if _reads(f, of_media=not from_words)]
    if not folders:
        raise UserError(
            f"--weights: none given, and {WEIGHTS} holds none for this; give a checkpoint or the "
            "folder of a run"
        )
    for folder in folders:
        try:
            return _usable(folder, options, device)
        except UserError as error:
            if len(folders) == 1:
                raise
            note(f"{folder} cannot be used here: {error}")
    raise UserError(
        f"no model of {WEIGHTS} can be used here, for what the lines above say; give --encoders "
        f"FOLDER, one that holds {' or '.join(_encoders(folders))}, or --weights"
    )


def published(root: Path) -> list[Path]:
    """Folders of published models, the first to be taken first."""
    folders = [card.parent for card in root.glob(f"*/{CARD}") if best_checkpoint(card.parent)]
    return sorted(folders, key=lambda folder: (read_card(folder).get("rank", LAST), folder.name))


def introduction(folder: Path) -> str:
    """What a model is, whom it was trained on, and what it cannot know, in one line."""
    card = read_card(folder)
    return " ".join(str(card[name]) for name in TOLD if card.get(name))


def read_card(folder: Path) -> dict[str, Any]:
    """The facts beside a published model.

    Raises:
        UserError: there are none, or they are damaged.
    """
    return read_json(folder / CARD, "restore it, or give --weights", dict)


def _reads(folder: Path, of_media: bool) -> bool:
    """Whether a model reads what is in a media file, or what is not."""
    reads = read_card(folder).get("facts", {}).get("reads", [])
    return any(registry.feature(name).of_media == of_media for name in reads)


def _usable(folder: Path, options: Any, device: torch.device) -> list[Member]:
    """The model, where its features can be made here: its encoder is fetched, or lies somewhere."""
    members = load_members([str(folder)], device, temperature=not options.calibrate)
    if not options.split:
        try:
            blocked_features(options, members, [])
        except UserError as error:
            raise UserError(f"{error}; give its folder here by --encoders FOLDER") from error
    _introduce(members)
    return members


def _introduce(members: Sequence[Member]) -> None:
    for folder in dict.fromkeys(member.checkpoint.path.parent for member in members):
        if (folder / CARD).is_file():
            note(f"{folder.parent.name}/{folder.name}: {introduction(folder)}")


def _encoders(folders: Sequence[Path]) -> list[str]:
    named = (read_card(folder).get("encoders", {}).values() for folder in folders)
    return list(dict.fromkeys(name for names in named for name in names))
