"""Features to arrays as a model wants them, padded and masked, on one clock; without torch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from emotion import registry
from emotion.clock import STEP_SECONDS
from emotion.inputs.feature import Reader, Steps
from emotion.inputs.store import FeatureStore
from emotion.recipe import Recipe
from emotion.records import ClipFeatures

Readers = dict[str, Reader]  # by modality


class Sample(NamedTuple):
    """One clip's arrays."""

    id: str
    targets: tuple[int, int, int]  # integrated, face, speech; -1 unlabelled
    steps: dict[str, Steps]  # by modality; times count from the start of what is read
    duration: float  # seconds of the clip that are read


class Padded(NamedTuple):
    """One modality of several clips; as ``Stream``, in arrays."""

    values: np.ndarray  # (B, N, ...)
    mask: np.ndarray  # (B, N) bool
    time: np.ndarray  # (B, N) float32 seconds


class Laid(NamedTuple):
    """The clock of several clips; as ``Clock``, in arrays."""

    mask: np.ndarray  # (B, N) bool
    time: np.ndarray  # (B, N) float32 seconds


def readers_of(recipe: Recipe, store: FeatureStore | None = None) -> Readers:
    """What reads each modality of a model; ``store`` where speakers are to be known.

    Raises:
        UserError: a clip of the store has no speaker, or a file is missing or damaged.
    """
    return {
        part.modality: registry.feature(part.feature).reader(part.reading, part.shape, store)
        for part in recipe.parts
    }


def read_sample(
    clip: ClipFeatures,
    readers: Readers,
    generator: np.random.Generator | None = None,
    targets: tuple[int, int, int] = (-1, -1, -1),
    name: str = "",
) -> Sample:
    """Read one clip; with a ``generator`` it is cut and augmented.

    Raises:
        UserError: a file is missing or damaged.
    """
    record, window, steps = clip.record, None, {}
    for modality, reader in readers.items():
        window = window or reader.window(record, generator)
        steps[modality] = reader.steps(clip, window, generator)
    start, end = window or (0.0, max(record.duration, record.fact("end")))
    shifted = {k: s._replace(time=(s.time - start).astype(np.float32)) for k, s in steps.items()}
    return Sample(name or record.stem, targets, shifted, end - start)


def pad(samples: Sequence[Sample]) -> dict[str, Padded]:
    """The steps of each modality, as many as the longest clip has; after the end of each are zeros
    (a spectrogram's floor).
    """
    return {
        name: Padded(
            _stack([_float(sample.steps[name].values) for sample in samples]),
            _stack([sample.steps[name].mask for sample in samples]),
            _stack([sample.steps[name].time for sample in samples]),
        )
        for name in samples[0].steps
    }


def clock_of(samples: Sequence[Sample]) -> Laid:
    """The steps of 0.512 s of each clip, one of which begins with its first stream."""
    laid = [_steps_of(sample) for sample in samples]
    longest = max(count for count, _ in laid)
    step = np.arange(longest, dtype=np.float32)
    count = np.array([count for count, _ in laid])[:, None]
    first = np.array([first for _, first in laid], np.float32)[:, None]
    time = first + (step + np.float32(0.5)) * np.float32(STEP_SECONDS)
    return Laid(step < count, time.astype(np.float32))


def _steps_of(sample: Sample) -> tuple[int, float]:
    """How many steps a clip has, and when the first of them begins."""
    starts = (s.time[s.mask & ~np.isnan(s.time)] for s in sample.steps.values())
    start = next((float(times[0]) for times in starts if times.size), 0.0)
    before = int(np.ceil(start / STEP_SECONDS - 1e-3))
    after = int(np.ceil((sample.duration - start) / STEP_SECONDS - 1e-3))
    return before + max(after, 1), start - before * STEP_SECONDS


def _float(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays (n, ...) of unequal n to (B, longest, ...), zeros (False) after the end of each."""
    longest = max(1, *(len(array) for array in arrays))
    result = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(result, arrays, strict=True):
        row[: len(array)] = array
    return result
