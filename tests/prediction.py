"""Checkpoints with drawn weights, small enough to make in a test, and calls of predict.py."""

import csv

import torch
from torch import nn

from emotion.corpora.qia2020 import EMOTIONS
from emotion.models.checkpoint import describe, save_checkpoint
from emotion.networks.model import build_model
from emotion.prediction.options import PredictOptions
from emotion.prediction.run import predict
from tests.features import SETTINGS
from tests.recipes import recipe_of

PLAIN = {
    "face_stride": 8,
    "face_clock": "clip",
    "vggface": None,
    "audio": "percentile",
}
TEXT_DIM = 12
HIDDEN = 8


class SlimNetwork(nn.Module):
    """In place of EfficientNet where a test is about everything else: as many steps, one layer,
    batch statistics.
    """

    def __init__(self, width=16):
        super().__init__()
        self._conv_head = nn.Conv2d(1, width, 32, stride=32)
        self._norm = nn.BatchNorm2d(width)

    def extract_features(self, pictures):
        return torch.tanh(self._norm(self._conv_head(pictures)))


class SlimVideo(nn.Module):
    """In place of the 33 million weights of resnet3d: as many steps, as wide, one layer."""

    def __init__(self, width=512):
        super().__init__()
        layer = nn.Conv3d(3, width, (1, 4, 4), stride=(2, 16, 16))
        self.stem = nn.Sequential(layer, nn.BatchNorm3d(width), nn.Tanh())
        self.layer1 = self.layer2 = self.layer3 = self.layer4 = nn.Identity()


def slim(monkeypatch, crops=True):
    """Every SpectrogramEncoder built from now on is slim, and every VideoEncoder with ``crops``."""
    monkeypatch.setattr("emotion.networks.efficientnet.build_network", lambda *_: SlimNetwork())
    if crops:
        monkeypatch.setattr("emotion.networks.resnet3d.build_video_network", SlimVideo)


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


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def probabilities_of(row, class_names=EMOTIONS):
    return [float(row[name]) for name in class_names]
