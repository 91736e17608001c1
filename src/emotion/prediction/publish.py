"""A run to a folder of ``weights/``: ``python -m emotion.prediction.publish RUN weights/voice``.

Parameters go into half precision; what says where an encoder lay at home becomes its Hugging Face
name. ``README.md`` and ``LICENSE`` beside the model are written by hand.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emotion import registry
from emotion.command_line import run
from emotion.errors import UserError
from emotion.files import read_json, write_json
from emotion.inputs.feature import SOURCE
from emotion.models.checkpoint import (
    FORMAT,
    PUBLISHED,
    Checkpoint,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from emotion.paths import HOME
from emotion.prediction.calibration import calibration_path
from emotion.prediction.published import CARD, TOLD, introduction, read_card
from emotion.recipe import describe
from emotion.telling import say

RESULT = "result.json"
LARGEST_HALF = 65504.0
SCORES = ("accuracy", "unweighted_average_recall", "macro_f1", "weighted_f1", "clips")
TEXTS = (*TOLD, "licence")


def publish(given: str, folder: Path, encoders: Sequence[str] = (), **texts: Any) -> Path:
    """Write ``model.pth`` and ``card.json``; what a card says already stays where nothing is given.

    Args:
        given: a run folder (its best checkpoint), its ``refit/``, or a checkpoint.
        folder: of ``weights/``.
        encoders: Hugging Face names of the encoders whose features the model reads.
        texts: of the card.

    Raises:
        UserError: no such run, an encoder without a public name, or a text that the card lacks.
    """
    path = find_checkpoint("RUN", given, HOME / "logs", (*registry.modalities(), registry.FUSED))
    checkpoint = load_checkpoint(path)
    features, named = name_encoders(checkpoint, encoders)
    card = _card(folder, texts, named, checkpoint)
    content = torch.load(path, weights_only=True) | {
        "format": FORMAT,
        "features": features,
        "recipe": describe(checkpoint.recipe),
        "model": halved(checkpoint),
    }
    content.pop("training", None)
    folder.mkdir(parents=True, exist_ok=True)
    calibration_path(folder / PUBLISHED).unlink(missing_ok=True)  # of what was here before
    save_checkpoint(folder / PUBLISHED, content)
    write_json(folder / CARD, card)
    if (fitted := calibration_path(path)).is_file():
        shutil.copyfile(fitted, calibration_path(folder / PUBLISHED))
    return folder / PUBLISHED


def halved(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights, parameters in float16. Statistics (batch norm's, means and deviations of
    features) keep their precision: they are few, and may be of any size.
    """
    parameters = {name for name, _ in checkpoint.build().named_parameters()}
    return {
        name: value.half() if name in parameters and _fits(value) else value
        for name, value in checkpoint.model.items()
    }


def _fits(value: Tensor) -> bool:
    return value.is_floating_point() and float(value.abs().max()) < LARGEST_HALF


def name_encoders(
    checkpoint: Checkpoint, encoders: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What the features were made with, frozen networks by their public names; and these, by
    setting. Features that the model does not read are left out.

    Raises:
        UserError: of a network only a folder of this machine is known.
    """
    features, named = {}, {}
    public = {Path(name).name: name for name in encoders}
    read = {part.feature for part in checkpoint.recipe.parts}
    for name, made in checkpoint.features.items():
        of = name.partition(registry.COPY)[0]
        if registry.family_of(of) and of not in read:
            continue
        features[name] = made
        if isinstance(made, dict) and SOURCE in made:
            source = public.get(Path(made[SOURCE]).name, made[SOURCE])
            if Path(source).is_absolute():
                raise UserError(
                    f"{checkpoint.path}: reads {of} of {source}, a folder of this machine; give "
                    "its public name: --encoders openai/whisper-base"
                )
            features[name] = made | {SOURCE: source}
            named[of] = source
    return features, named


def _card(
    folder: Path, texts: dict[str, Any], encoders: dict[str, str], checkpoint: Checkpoint
) -> dict[str, Any]:
    before = read_card(folder) if (folder / CARD).is_file() else {}
    card = before | {name: text for name, text in texts.items() if text}
    if missing := [f"--{name}" for name in TEXTS if not card.get(name)]:
        raise UserError(f"{folder}: its card lacks {' '.join(missing)}")
    return card | {"encoders": encoders, "facts": _facts(checkpoint)}


def _facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the checkpoint and its run know of themselves."""
    met, recipe = checkpoint.met, checkpoint.recipe
    return {
        "mode": checkpoint.mode,
        "classes": list(checkpoint.class_names),
        "corpus": checkpoint.features["corpus"],
        "reads": [part.feature for part in recipe.parts],
        "networks": [part.encoder for part in recipe.parts],
        "parameters": sum(value.numel() for value in checkpoint.build().parameters()),
        "training_clips": len(met.trained) if met else None,
        "training_speakers": (len(met.speakers) or None) if met else None,  # known on folds
        **_scores(checkpoint.path.parent),
    }


def _scores(folder: Path) -> dict[str, Any]:
    """Of a finished run, on validation and test; of a refit, which learnt the validation clips, on
    test: the run above it tells.
    """
    path = next((p / RESULT for p in (folder, folder.parent) if (p / RESULT).is_file()), None)
    result = read_json(path, "train it again", dict) if path else {}
    parts = ("valid", "test")
    if path and path.parent != folder:
        result, parts = result.get(folder.name, {}), ("test",)
    return {
        part: {name: result[part][name] for name in SCORES if name in result[part]}
        for part in parts
        if part in result
    }


def main() -> None:
    """Publish a run, as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m emotion.prediction.publish", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("run", help="a run folder, its refit/, or a checkpoint")
    parser.add_argument("folder", type=Path, help="where it goes, such as weights/voice")
    parser.add_argument(
        "--encoders", nargs="*", default=[], help="Hugging Face names, such as openai/whisper-base"
    )
    parser.add_argument("--what", help="a sentence: what the model is")
    parser.add_argument("--taught", help="a sentence: whom it was trained on")
    parser.add_argument("--limits", help="a sentence: what it cannot know")
    parser.add_argument("--licence", help="of the weights, which is that of the data")
    parser.add_argument("--rank", type=int, help="1 is taken first; last where none is given")
    given = vars(parser.parse_args())
    path = publish(given.pop("run"), given.pop("folder"), given.pop("encoders"), **given)
    say(f"{path}: {path.stat().st_size / 1e6:.2f} MB; {introduction(path.parent)}")
    for name in ("README.md", "LICENSE"):
        if not (path.parent / name).is_file():
            say(f"{path.parent / name} is still to be written")


if __name__ == "__main__":
    run(main)
