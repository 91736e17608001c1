"""The models that answer: checkpoints rebuilt, calibrated, and their answers joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emotion import registry
from emotion.errors import UserError, first_line
from emotion.models.checkpoint import (
    ABOUT,
    BEST,
    PUBLISHED,
    REFIT,
    SWEPT_RUN,
    Checkpoint,
    find_checkpoints,
    load_checkpoint,
)
from emotion.models.devices import place
from emotion.paths import HOME
from emotion.prediction.calibration import read_temperature
from emotion.recipe import Recipe


@dataclass(frozen=True)
class Member:
    """One model that answers, and what it reads."""

    name: str
    checkpoint: Checkpoint
    model: nn.Module
    settings: dict[str, Any]  # what its features were made with, as in features.json
    temperature: float

    @property
    def recipe(self) -> Recipe:
        """What it is made of and reads."""
        return self.checkpoint.recipe

    @property
    def mode(self) -> str:
        """A modality, or multimodal."""
        return self.checkpoint.mode

    @property
    def by_speaker(self) -> bool:
        """Whether it wants to know whose clip it is."""
        return any(
            registry.feature(part.feature).by_speaker(part.reading) for part in self.recipe.parts
        )

    @property
    def experiment(self) -> Path | None:
        """The folder of an experiment that it is one of several runs of; of their refits, which
        are other models, ``refit`` in it.
        """
        folder = self.checkpoint.path.resolve().parent
        refit = REFIT if folder.name == REFIT else ""
        folder = folder.parent if refit else folder
        return folder.parent / refit if SWEPT_RUN.match(folder.name) else None

    @property
    def head(self) -> str:
        """The head whose answer counts."""
        return self.recipe.main_head


def load_members(
    weights: Sequence[str], device: torch.device, temperature: bool = True
) -> list[Member]:
    """The models of ``--weights``, on the device; with the temperature that was fitted, or without.

    Raises:
        UserError: a file is none of this program's, or the models know different classes.
    """
    paths = [path for given in weights for path in _find(given)]
    members = [_member(load_checkpoint(path), temperature, device) for path in paths]
    first = members[0].checkpoint
    for member in members[1:]:
        if member.checkpoint.class_names != first.class_names:
            raise UserError(
                f"{member.checkpoint.path}: knows the classes "
                f"{' '.join(member.checkpoint.class_names)}, {first.path} knows "
                f"{' '.join(first.class_names)}; an ensemble wants one list"
            )
    return members


def _member(checkpoint: Checkpoint, temperature: bool, device: torch.device) -> Member:
    path = checkpoint.path
    try:
        model = checkpoint.build()
        settings = {k: v for k, v in checkpoint.features.items() if k not in ABOUT}
        if len(checkpoint.class_names) != checkpoint.recipe.n_classes:
            raise ValueError("its class names do not fit its model")
        return Member(
            name=_name(path),
            checkpoint=checkpoint,
            model=place(model, device).eval(),
            settings=settings,
            temperature=read_temperature(path) if temperature else 1.0,
        )
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: damaged ({first_line(error)[:120]}); give one that train.py made"
        ) from error


def _name(path: Path) -> str:
    """``mode/run`` of a checkpoint in a run folder, else the file's name."""
    path = path.resolve()
    in_folder = BEST.match(path.name) or path.name == PUBLISHED
    return "/".join(path.parts[-3:-1]) if in_folder else path.name


def _find(given: str) -> list[Path]:
    modes = (*registry.modalities(), registry.FUSED)
    return find_checkpoints("--weights", given, HOME / "logs", modes)
