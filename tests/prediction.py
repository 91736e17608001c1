"""Checkpoints with drawn weights, small enough to make in a test, and calls of predict.py."""

import csv
import json

import torch
from torch import nn

from emotion.corpora.qia2020 import EMOTIONS
from emotion.models.checkpoint import describe, save_checkpoint
from emotion.networks.model import build_model
from emotion.prediction.options import PredictOptions
from emotion.prediction.run import predict
from tests.features import SETTINGS, make_features
from tests.recipes import recipe_of

PLAIN = {
    "face_stride": 8,
    "face_clock": "clip",
    "vggface": None,
    "audio": "percentile",
}
TEXT_DIM = 12
HIDDEN = 8


def make_checkpoint(
    folder, mode, seed=0, class_names=EMOTIONS, features=None, name="3_best_1.0000.pth", **options
):
    """Write a checkpoint with drawn weights that are large enough to tell clips apart."""
    options = {"hidden": HIDDEN, "text_dim": TEXT_DIM, "speech_frames": 64, **options}
    recipe = recipe_of(mode, len(class_names), **options)
    torch.manual_seed(seed)
    model = build_model(recipe)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(3.0)
    stored = {"corpus": "qia2020", **(SETTINGS if features is None else features)}
    path = folder / mode / f"run{seed}" / name
    save_checkpoint(path, describe(model, recipe, class_names, stored, epoch=3, metrics={}))
    return path


def options_of(weights, folder, **flags):
    weights = weights if isinstance(weights, list) else [weights]
    settings = {"output": str(folder / "answers.csv"), "num_workers": 0, **flags}
    return PredictOptions(weights=[str(w) for w in weights], **settings)


def answers_of(weights, folder, **flags):
    """Run predict; the rows of the CSV."""
    options = options_of(weights, folder, **flags)
    assert predict(options) in (0, 1)
    return rows_of(options.output)


def report_of(weights, folder, **flags):
    """Run predict with ``--report``: its folder, the numbers and the page."""
    out = folder / "report"
    assert predict(options_of(weights, folder, report=str(out), **flags)) == 0
    numbers = json.loads((out / "report.json").read_text("utf-8"))
    return out, numbers, (out / "report.html").read_text("utf-8")


def text_split(folder, clips, **made):
    """A text model, and the flags by which it answers a made-up test split."""
    make_features(folder / "features", clips={"test": clips}, text_dim=TEXT_DIM, **made)
    flags = {"features_dir": str(folder / "features"), "split": "test"}
    return make_checkpoint(folder, "text"), flags


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def probabilities_of(row, class_names=EMOTIONS):
    return [float(row[name]) for name in class_names]
