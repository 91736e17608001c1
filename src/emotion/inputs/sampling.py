"""Which steps of a clip are read."""

import numpy as np

from emotion.inputs.feature import Window

TIME_JITTER = 0.1  # share of a clip's steps that may be cut off at either end


def spread_rows(count: int, wanted: int, generator: np.random.Generator | None) -> np.ndarray:
    """``wanted`` ascending rows out of ``count``: the middle of each equal segment, or a row from
    anywhere in it where there is a generator (Wang et al. 2016, arXiv 1608.00859).
    """
    inside = np.full(wanted, 0.5) if generator is None else generator.random(wanted)
    rows = np.floor((np.arange(wanted) + inside) * count / wanted).astype(int)
    return np.clip(rows, 0, count - 1)


def jittered_rows(count: int, generator: np.random.Generator) -> np.ndarray:
    """Ascending rows out of ``count`` with up to a tenth cut off at either end."""
    first, last = generator.integers(int(count * TIME_JITTER) + 1, size=2)
    return np.arange(first, count - last)


def rows_within(times: np.ndarray, window: Window) -> np.ndarray:
    """Rows of the steps that lie within a window, or have no time (NaN); the nearest one where
    there is none.
    """
    outside = (times < window.start - 1e-6) | (times >= window.end)
    rows = np.flatnonzero(~outside)
    middle = (window.start + window.end) / 2
    return rows if rows.size else np.array([np.abs(times - middle).argmin()])
