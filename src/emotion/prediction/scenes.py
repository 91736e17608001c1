"""What can be shown of a clip: its sound, spectrogram and faces."""

from typing import Any

import numpy as np

from emotion import registry
from emotion.clock import FRAME_SECONDS
from emotion.inputs.audio import SILENCE_DB
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.spoken import Spoken
from emotion.inputs.video import MediaError, read_waveform
from emotion.prediction.inputs import Item
from emotion.prediction.plots import NO_TRACK, SILENT, Scene
from emotion.prediction.recording import Recording
from emotion.records import ClipFeatures, Record

POINTS = 1500  # of a drawn waveform
UNHEARD = {"absent": NO_TRACK, "silent": SILENT}  # by the state of the speech


def scene_of(item: Item, clip: ClipFeatures) -> Scene:
    """A clip as its features describe it.

    Raises:
        UserError: a file is missing or damaged.
    """
    log_mel, record = _first(clip, registry.SPECTROGRAM), clip.record
    length = max(record.duration, record.fact("end"))
    return Scene(
        duration=length,
        heard=record.fact("start"),
        sound=_sound(item, log_mel, record),
        log_mel=log_mel,
        faces=_first(clip, registry.CROPS),
        words=spoken.timed if (spoken := _first(clip, registry.SPOKEN)) else (),
        unheard=UNHEARD.get(record.state("speech"), ""),
    )


def scene_of_recording(recording: Recording) -> Scene:
    """A longer recording, as it was read."""
    sound, values = recording.media.waveform, recording.values.values()
    has_sound, made = sound is not None and sound.size, recording.extractor.features
    quiet = SILENT if recording.media.level <= SILENCE_DB else ""
    return Scene(
        duration=recording.media.duration,
        heard=0.0,
        sound=envelope(sound) if has_sound else None,
        log_mel=None,
        faces=next((value for value in values if isinstance(value, FaceTrack)), None),
        words=next((value for value in values if isinstance(value, Spoken)), Spoken()).timed,
        unheard=quiet if has_sound else NO_TRACK,
        looked=any(registry.feature_line(n).kind == registry.CROPS for n in made),
    )


def _first(clip: ClipFeatures, kind: str) -> Any | None:
    """The first feature of a kind that a clip has."""
    for name, line in registry.FEATURES.items():  # families are of vectors, which nobody draws
        if line.kind == kind and clip.record.state(name) == "ok":
            return clip.read(name)
    return None


def envelope(waveform: np.ndarray) -> np.ndarray:
    """Lowest and highest of each stretch of a waveform, (2, at most ``POINTS``)."""
    count = min(POINTS, len(waveform))
    starts = np.arange(count) * len(waveform) // max(count, 1)
    return np.stack([np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)])


def _sound(item: Item, log_mel: np.ndarray | None, record: Record) -> np.ndarray | None:
    """The waveform where there is a media file, else the loudness of the spectrogram."""
    if log_mel is None:
        return None
    if item.store is None:
        try:
            waveform = read_waveform(item.clip.path)
        except MediaError:
            return None
        return envelope(waveform) if waveform.size else None
    loudness = log_mel.astype(np.float32).mean(axis=0)
    before = round(record.fact("start") / FRAME_SECONDS)
    after = round((record.duration - record.fact("end")) / FRAME_SECONDS)
    loudness = np.pad(loudness, (max(before, 0), max(after, 0)))
    return np.stack([-loudness, loudness])
