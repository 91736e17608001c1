"""Words in pictures: written where they are said."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from emotion.fonts import families
from emotion.inputs.spoken import Word
from emotion.prediction.attention import Attention

LANES = 3  # rows of words, one below another, so that neighbours do not overlap
LETTER = 0.5  # of a letter's width to its size


def write_words(
    axis: Axes, words: Sequence[Word], span: float, shares: np.ndarray | None = None, size: int = 8
) -> None:
    """Write words along an axis of ``span`` seconds, in the three lanes of its height from 0 to 1;
    one for which there is no room is a dot.

    Args:
        axis: whose x is seconds.
        words: with times, in their order.
        span: seconds that the axis shows.
        shares: (words,) of attention, which colours them.
        size: of the letters, in points.
    """
    inches = axis.get_figure().get_figwidth() * 0.85
    letter = size * LETTER / 72 / inches * span  # seconds
    free = [-np.inf] * LANES
    for number, word in enumerate(words):
        half = letter * (_width(word.text) + 1) / 2
        middle = float(np.clip(word.middle, half, max(half, span - half)))
        lane = next((lane for lane in range(LANES) if free[lane] <= middle - half), None)
        text = "\u00b7" if lane is None else word.text
        if lane is not None:
            free[lane] = middle + half
        height = 0.02 if lane is None else 1 - (lane + 0.5) / LANES
        axis.text(
            middle, height, text, ha="center", va="center", fontsize=size,
            color=_colour(shares, number), family=families(), clip_on=True,
            transform=axis.get_xaxis_transform(),
        )  # fmt: skip


def shares_of(words: Sequence[Word], attention: Attention) -> np.ndarray:
    """The attention (words,) that falls on each word: that of all steps with its time."""
    near = np.abs(attention.time[None] - np.array([[word.middle] for word in words])) < 1e-3
    return np.where(near, attention.weights[None], 0.0).sum(axis=1)


def _colour(shares: np.ndarray | None, number: int) -> Any:
    if shares is None:
        return "0.15"
    return mpl.colormaps["Oranges"](0.25 + 0.7 * shares[number] / max(shares.max(), 1e-9))


def _width(text: str) -> int:
    """Letters; those of East Asia are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
