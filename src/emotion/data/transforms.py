"""What happens to one sample on its way into a batch. Randomness comes from the generator given."""

import os
from typing import NamedTuple

import numpy as np

from emotion.inputs.audio import FRAME_SECONDS
from emotion.lazy import Lazy

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it asks a package index
albumentations = Lazy("albumentations")  # for --brightness above 0 alone
STRIDE = 32  # the speech network halves time five times: lengths are padded to a multiple of this
TIME_JITTER = 0.1  # share of a clip's frames that may be cut off at either end


class SpeechCrop(NamedTuple):
    """Part of a spectrogram: its first frame, and the values (128, frames)."""

    first: int
    values: np.ndarray


class SpeechAugmentation:
    """Brightness and contrast of a spectrogram taken as a picture (albumentations)."""

    def __init__(self, limit: float = 0.2, probability: float = 0.5) -> None:
        self.transform = None
        if limit > 0:
            change = albumentations.RandomBrightnessContrast(limit, limit, p=probability)
            self.transform = albumentations.Compose([change], seed=0)

    def __call__(self, log_mel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Change float32 (128, T) in [0, 1]; albumentations takes its own seed, so it gets one."""
        seed = int(generator.integers(2**31))  # drawn in any case: what follows stays alike
        if self.transform is None:
            return log_mel
        self.transform.set_random_seed(seed)
        return self.transform(image=log_mel[..., None])["image"][..., 0]


def random_crop(log_mel: np.ndarray, frames: int, generator: np.random.Generator) -> SpeechCrop:
    """At most ``frames`` frames of (128, T), anywhere in it."""
    first = int(generator.integers(max(log_mel.shape[1] - frames, 0) + 1))
    return SpeechCrop(first, log_mel[:, first : first + frames])


def padded_length(frames: int) -> int:
    """The next multiple of 32, at least 32."""
    return max(STRIDE, -(-frames // STRIDE) * STRIDE)


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


def rows_within(times: np.ndarray, start: float, frames: int) -> np.ndarray:
    """Rows of the face frames that lie within a speech crop; the nearest one where none does."""
    rows = np.flatnonzero((times >= start - 1e-6) & (times < start + frames * FRAME_SECONDS))
    middle = start + frames * FRAME_SECONDS / 2
    return rows if rows.size else np.array([np.abs(times - middle).argmin()])
