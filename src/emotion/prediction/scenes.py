"""What can be shown of a clip: its sound, spectrogram and faces."""

import numpy as np

from emotion.inputs.audio import FRAME_SECONDS, SAMPLE_RATE
from emotion.inputs.video import MediaError, read_waveform
from emotion.prediction.inputs import Item
from emotion.prediction.plots import Scene
from emotion.prediction.reading import Features

POINTS = 1500  # of a drawn waveform


def scene_of(item: Item, features: Features) -> Scene:
    """The part of a clip that its features describe.

    Raises:
        UserError: a file is missing or damaged.
    """
    record, store, split = features.record, features.store, features.split
    log_mel = None
    if record.speech_state == "ok":
        log_mel = store.read_array(split, "speech", record.stem)
    has_faces = record.video_state == "ok"
    end = record.start + max(record.frames, 1) * FRAME_SECONDS
    return Scene(
        start=record.start,
        end=end,
        sound=_sound(item, log_mel, record.start, end),
        log_mel=log_mel,
        faces=store.read_faces(split, record.stem) if has_faces else None,
    )


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
