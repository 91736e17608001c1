"""Networks of one layer, for tests that are about everything else."""

import torch
from torch import nn


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
