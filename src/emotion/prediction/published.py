"""The models in ``weights/``, which answer where ``--weights`` names none.

A folder holds the checkpoint, ``card.json`` (what a person is told in a line), ``README.md`` (the
model card) and the licence of the data that taught it.
"""

from pathlib import Path
from typing import Any

from emotion.errors import UserError
from emotion.files import read_json
from emotion.models.checkpoint import best_checkpoint
from emotion.paths import HOME
from emotion.telling import note

CARD = "card.json"
TOLD = ("what", "taught", "limits")  # of a card, one sentence each


def weights_of(options: Any) -> list[str]:
    """What ``--weights`` names, else the first of the published models, which a note introduces.

    Raises:
        UserError: nothing is named, and nothing is published here.
    """
    if options.weights:
        return options.weights
    folders = published(HOME / "weights")
    if not folders:
        raise UserError(
            f"--weights: none given, and {HOME / 'weights'} holds none; give a checkpoint or the "
            "folder of a run"
        )
    note(f"--weights {folders[0]}: {introduction(folders[0])}")
    return [str(folders[0])]


def published(root: Path) -> list[Path]:
    """Folders of published models, the first to be taken first."""
    folders = [card.parent for card in root.glob(f"*/{CARD}") if best_checkpoint(card.parent)]
    return sorted(folders, key=lambda folder: (_card(folder).get("rank", 0), folder.name))


def introduction(folder: Path) -> str:
    """What a model is, whom it was trained on, and what it cannot know, in one line."""
    card = _card(folder)
    return " ".join(str(card[name]) for name in TOLD if card.get(name))


def _card(folder: Path) -> dict[str, Any]:
    return read_json(folder / CARD, "restore it, or give --weights", dict)
