"""What can be shown of a clip: its sound, spectrogram and faces."""

from typing import Any

import numpy as np

from emotion import registry
from emotion.clock import SAMPLE_RATE
from emotion.inputs.video import MediaError, read_waveform
from emotion.prediction.inputs import Item
from emotion.prediction.plots import Scene
from emotion.records import ClipFeatures

POINTS = 1500  # of a drawn waveform


def scene_of(item: Item, clip: ClipFeatures) -> Scene:
    """The part of a clip that its features describe.

    Raises:
        UserError: a file is missing or damaged.
    """
    log_mel = _first(clip, registry.SPECTROGRAM)
    start, end = clip.record.fact("start"), clip.record.fact("end")
    return Scene(
        start=start,
        end=end,
        sound=_sound(item, log_mel, start, end),
        log_mel=log_mel,
        faces=_first(clip, registry.CROPS),
    )


def _first(clip: ClipFeatures, kind: str) -> Any | None:
    """The first feature of a kind that a clip has."""
    for name, line in registry.FEATURES.items():
        if line.kind == kind and clip.record.state(name) == "ok":
            return clip.read(name)
    return None


def envelope(waveform: np.ndarray) -> np.ndarray:
    """Lowest and highest of each stretch of a waveform, (2, at most ``POINTS``)."""
    count = min(POINTS, len(waveform))
    starts = np.arange(count) * len(waveform) // max(count, 1)
    return np.stack([np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)])


def _sound(item: Item, log_mel: np.ndarray | None, start: float, end: float) -> np.ndarray | None:
    """The waveform where there is a media file, else the loudness of the spectrogram."""
    if log_mel is None:
        return None
    if item.store is None:
        try:
            waveform = read_waveform(item.clip.path)
        except MediaError:
            return None
        part = waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        return envelope(part) if part.size else None
    loudness = log_mel.astype(np.float32).mean(axis=0)
    return np.stack([-loudness, loudness])
