"""The models that answer: checkpoints rebuilt, averaged, calibrated, and their answers joined."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emotion import registry
from emotion.errors import UserError, first_line
from emotion.models.checkpoint import (
    ABOUT,
    BEST,
    PUBLISHED,
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
    def head(self) -> str:
        """The head whose answer counts."""
        return self.recipe.main_head


def load_members(
    weights: Sequence[str], average: bool, temperature: bool, logs: str, device: torch.device
) -> list[Member]:
    """The models of ``--weights``, on the device.

    Raises:
        UserError: a file is none of this program's, or the models know different classes.
    """
    folder = Path(logs or HOME / "logs")
    if average:
        return [_average([p for w in weights for p in _run_checkpoints(w, folder)], device)]
    paths = [path for w in weights for path in _find(w, folder)]
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


def _find(given: str, logs: Path) -> list[Path]:
    return find_checkpoints("--weights", given, logs, (*registry.modalities(), registry.FUSED))


def _run_checkpoints(given: str, logs: Path) -> list[Path]:
    found = [p for p in sorted(Path(given).glob("*_best_*.pth")) if BEST.match(p.name)]
    return found or _find(given, logs)


def _average(paths: list[Path], device: torch.device) -> Member:
    """One model whose weights, batch-norm statistics included, are the mean of the checkpoints'.

    The checkpoints of one run lie near each other (Izmailov et al. 2018, arXiv 1803.05407), so the
    mean of their statistics is close to the statistics of their mean.

    Raises:
        UserError: they are not of one model.
    """
    checkpoints = sorted((load_checkpoint(path) for path in paths), key=lambda c: c.epoch)
    newest = checkpoints[-1]
    for checkpoint in checkpoints:
        if checkpoint.recipe != newest.recipe:
            raise UserError(
                f"{checkpoint.path}: is another model than {newest.path}; --average_weights True "
                "wants the checkpoints of one run"
            )
    states = [checkpoint.model for checkpoint in checkpoints]
    averaged = {name: _mean([state[name] for state in states]) for name in newest.model}
    every = [c.met for c in checkpoints if c.met is not None]
    met = reduce(or_, every) if len(every) == len(checkpoints) else None
    return _member(replace(newest, model=averaged, met=met), False, device)


def _mean(tensors: list[Tensor]) -> Tensor:
    if not tensors[-1].is_floating_point():
        return tensors[-1]  # a counter
    return torch.stack([tensor.double() for tensor in tensors]).mean(dim=0).to(tensors[-1].dtype)
