"""Sound to log-mel spectrograms. Times are seconds, on the container's own clock."""

from typing import NamedTuple

import librosa
import numpy as np
import scipy.signal

SAMPLE_RATE = 16_000  # Hz
N_FFT = 1024  # samples: 64 ms
HOP_LENGTH = 256  # samples: 16 ms
FRAME_SECONDS = HOP_LENGTH / SAMPLE_RATE
N_MELS = 128
F_MIN, F_MAX = 80.0, 8000.0  # Hz; no band is empty
DYNAMIC_RANGE = 80.0  # dB below the clip's peak
TRIM_DB = 20.0  # what is this far below the loudest frame is silence
SILENCE_PEAK = 1e-4  # full scale 1: a clip that never passes -80 dB has no voice
BLOCK_FRAMES = 3750  # a minute
LOUDEST = 1e4  # full scale 1: the squares of what is louder would soon be infinite
WIENER_SAMPLES = 3  # scipy's own default window


class Speech(NamedTuple):
    """The trimmed speech of a clip."""

    log_mel: np.ndarray  # float16 (128, T) in [0, 1]
    start: float  # seconds
    end: float  # seconds


def extract_speech(waveform: np.ndarray, denoise: str = "none") -> Speech | None:
    """Trim, denoise and transform a clip's sound; None where there is no voice in it.

    Args:
        waveform: float32 (samples,) at 16 kHz, starting at time 0 of the clip.
        denoise: ``wiener`` or ``none``.
    """
    waveform = np.nan_to_num(waveform, nan=0.0, posinf=0.0, neginf=0.0)
    peak = np.abs(waveform).max(initial=0.0)
    if peak < SILENCE_PEAK:
        return None
    if peak > LOUDEST:
        waveform = waveform / peak
    first, last = trim_interval(waveform)
    speech = waveform[first:last]
    if denoise == "wiener":
        speech = wiener_denoise(speech)
    return Speech(log_mel_spectrogram(speech), first / SAMPLE_RATE, last / SAMPLE_RATE)


def trim_interval(waveform: np.ndarray) -> tuple[int, int]:
    """First sample and one past the last of what is within 20 dB of the loudest frame.

    ``librosa.effects.trim``, which holds every frame at once: 300 MB for ten minutes.
    """
    loudness = librosa.amplitude_to_db(_root_mean_squares(waveform), ref=np.max, top_db=None)
    loud = np.flatnonzero(loudness > -TRIM_DB)
    return int(loud[0]) * HOP_LENGTH, min(len(waveform), int(loud[-1] + 1) * HOP_LENGTH)


def _root_mean_squares(waveform: np.ndarray) -> np.ndarray:
    """Of frames of 128 ms around every 16 ms, a minute at a time, (1 + samples // 256,)."""
    padded = np.pad(waveform, N_FFT)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * N_FFT)[::HOP_LENGTH]
    parts = (frames[first : first + BLOCK_FRAMES] for first in range(0, len(frames), BLOCK_FRAMES))
    return np.sqrt(np.concatenate([np.mean(np.square(part), axis=1) for part in parts]))


def wiener_denoise(waveform: np.ndarray) -> np.ndarray:
    """Scipy's Wiener filter; where it divides zero by zero (digital silence) the input stays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        filtered = scipy.signal.wiener(waveform.astype(np.float64), WIENER_SAMPLES)
    return np.where(np.isfinite(filtered), filtered, waveform).astype(np.float32)


def log_mel_spectrogram(waveform: np.ndarray) -> np.ndarray:
    """Log-mel spectrogram, 0 the floor (80 dB below the clip's peak), 1 the peak.

    Args:
        waveform: float32 (samples,) at 16 kHz, at least one.

    Returns:
        float16 (128, T), T = 1 + samples // 256; frame t is centred on t * 16 ms.
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
    decibel = librosa.power_to_db(power, ref=np.max, amin=1e-12, top_db=DYNAMIC_RANGE)
    return ((decibel + DYNAMIC_RANGE) / DYNAMIC_RANGE).astype(np.float16)
