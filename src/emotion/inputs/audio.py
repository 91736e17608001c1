"""Sound to log-mel spectrograms. Times are seconds, on the container's own clock."""

from typing import NamedTuple

import numpy as np

from emotion.clock import HOP_LENGTH, N_MELS, SAMPLE_RATE
from emotion.lazy import Lazy

librosa = Lazy("librosa")  # spectrograms that are there are read without it

N_FFT = 1024  # samples: 64 ms
F_MIN, F_MAX = 80.0, 8000.0  # Hz; no band is empty
ANALYSIS = "percentile"  # how speech is cut and scaled: features of another way are others
DYNAMIC_RANGE = 80.0  # dB below the clip's level
LOUD_SHARE, LOUD_FRAMES = 0.05, (20, 31)  # the frames that make a clip's level: 0.3 to 0.5 s
TRIM_DB = 17.0  # what is this far below the clip's level is silence
SILENCE_DB = -65.0  # full scale 0: a clip whose level is no higher has no voice
FLOOR = 1e-12  # of a power, so that its logarithm is finite
BLOCK_FRAMES = 3750  # a minute
LOUDEST = 1e9  # full scale 1: the squares of what is louder would soon be infinite


class Speech(NamedTuple):
    """The trimmed speech of a clip."""

    log_mel: np.ndarray  # float16 (128, T) in [0, 1]
    start: float  # seconds
    end: float  # seconds
    peak_db: float  # power, full scale 1, of what is 1 in the spectrogram


def extract_speech(waveform: np.ndarray) -> Speech | None:
    """Trim and transform a clip's sound; None where there is no voice in it.

    Args:
        waveform: float32 (samples,) at 16 kHz, starting at time 0 of the clip.
    """
    waveform = finite(waveform)
    if not waveform.size or clip_level(frame_levels(waveform)) <= SILENCE_DB:
        return None
    first, last = trim_interval(waveform)
    log_mel, peak_db = log_mel_spectrogram(waveform[first:last])
    return Speech(log_mel, first / SAMPLE_RATE, last / SAMPLE_RATE, peak_db)


def finite(waveform: np.ndarray) -> np.ndarray:
    """Samples of a float file that are no numbers are silence; the largest are cut off."""
    waveform = np.nan_to_num(waveform, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(waveform, -LOUDEST, LOUDEST, out=waveform)


def clip_level(levels: np.ndarray) -> float:
    """The level that the loudest twentieth of the frames (N,) exceeds: a percentile, and no click.

    At least 0.3 s of frames count, since a click is heard in the 0.13 s around it, and at most
    0.5 s, so that a word in a minute of silence is still what decides. Which frames and which
    threshold: ``benchmarks/trimming.py``.
    """
    count = int(np.clip(round(LOUD_SHARE * len(levels)), *LOUD_FRAMES))
    return float(np.sort(levels)[-min(count, len(levels))])


def trim_interval(waveform: np.ndarray) -> tuple[int, int]:
    """First sample and one past the last of what is within 17 dB of the clip's level."""
    levels = frame_levels(waveform)
    loud = np.flatnonzero(levels > clip_level(levels) - TRIM_DB)
    return int(loud[0]) * HOP_LENGTH, min(len(waveform), int(loud[-1] + 1) * HOP_LENGTH)


def frame_levels(waveform: np.ndarray) -> np.ndarray:
    """Level in dB (root mean square) of frames of 128 ms around every 16 ms, (1 + samples // 256,).

    Full scale is 0 dB.
    """
    return decibel(np.square(_root_mean_squares(waveform)))


def decibel(power: np.ndarray | float) -> np.ndarray:
    """10 log10 of a power, full scale 1."""
    return 10.0 * np.log10(np.maximum(power, FLOOR))


def _root_mean_squares(waveform: np.ndarray) -> np.ndarray:
    """Of frames of 128 ms around every 16 ms, a minute at a time, (1 + samples // 256,)."""
    padded = np.pad(waveform, N_FFT)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * N_FFT)[::HOP_LENGTH]
    parts = (frames[first : first + BLOCK_FRAMES] for first in range(0, len(frames), BLOCK_FRAMES))
    return np.sqrt(np.concatenate([np.mean(np.square(part), axis=1) for part in parts]))


def log_mel_spectrogram(waveform: np.ndarray) -> tuple[np.ndarray, float]:
    """Log-mel spectrogram, 1 the clip's level and all above it, 0 the floor 80 dB below.

    The level is that of the loudest bands of the frames (``clip_level``): against the one loudest
    cell, a click would push the speech into the floor.

    Args:
        waveform: float32 (samples,) at 16 kHz, at least one.

    Returns:
        float16 (128, T), T = 1 + samples // 256, frame t centred on t * 16 ms; and the level in dB
        of power, full scale 1.
    """
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=SAMPLE_RATE,
        n_fft=N_FFT,
        hop_length=HOP_LENGTH,
        window="hann",
        n_mels=N_MELS,
        fmin=F_MIN,
        fmax=F_MAX,
    )
    levels = decibel(power)
    peak_db = clip_level(levels.max(axis=0))
    share = 1.0 + (levels - peak_db) / DYNAMIC_RANGE
    return np.clip(share, 0.0, 1.0).astype(np.float16), peak_db


LEVEL_FLOOR, LEVEL_RANGE = -80.0, 120.0  # dB of power, full scale 1: what 0 and 1 stand for


def at_its_level(log_mel: np.ndarray, peak_db: float) -> np.ndarray:
    """A spectrogram on a scale that is the same for every clip, so that loudness tells.

    Args:
        log_mel: float32 (128, T), 1 the clip's own level.
        peak_db: that level.

    Returns:
        float32 (128, T): 0 is 80 dB below a power of 1, 1 is 40 dB above it. A tone of full scale
        comes to 33 dB, ordinary speech to 0 and quiet speech to -25.
    """
    levels = peak_db + DYNAMIC_RANGE * (log_mel - 1.0)
    return np.clip((levels - LEVEL_FLOOR) / LEVEL_RANGE, 0.0, 1.0).astype(np.float32)
