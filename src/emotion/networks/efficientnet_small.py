"""EfficientNet for a thousand clips and random weights: seen small, cut early, pooled by moments.

It sees means of 2 x 2 cells, a quarter of the work; it ends before it halves its map a fifth time,
which leaves more places of a short clip to learn from and fewer parameters; and its steps are
pooled by mean and deviation. What each gave on RAVDESS: ``benchmarks/RESULTS.md``.
"""

from dataclasses import dataclass

from emotion.command_line import flag
from emotion.networks.attention import Head, StatisticsPooling
from emotion.networks.efficientnet import (
    SpectrogramEncoder,
    build_network,
    dropout_of,
    load_pretrained,
)
from emotion.recipe import Part

DOWNSAMPLE = 2  # bands and frames to a cell
STRIDE = 16  # cells to a column of the last map

__all__ = ["Options", "build", "build_head", "load_pretrained"]


@dataclass(frozen=True)
class Options:
    """Of the network."""

    coeff: int = flag(0, "EfficientNet-B0..B7", "model", low=0, high=7)


def build(part: Part) -> SpectrogramEncoder:
    """The encoder, for crops as long as the recipe says."""
    network = build_network(part.network.coeff, STRIDE)
    frames = part.reading.speech_frames
    return SpectrogramEncoder(network, frames, DOWNSAMPLE, STRIDE, moments=True)


def build_head(part: Part, width: int, n_classes: int) -> Head:
    """Mean and deviation of the steps, dropout and a linear layer."""
    return Head(StatisticsPooling(), width, n_classes, dropout_of(part.network.coeff))
