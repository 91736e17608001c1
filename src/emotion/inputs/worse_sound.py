"""Sound made worse: noise, other voices, another level, the band of a telephone.

``predict.py --stress`` asks how answers hold, ``preprocess.py --speech_copies`` trains against it.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import butter, sosfiltfilt

from emotion.clock import SAMPLE_RATE
from emotion.inputs.video import MediaError, read_waveform

VOICES = 6  # of other clips that babble together
FRAME = 512  # samples: of which the louder ones are the level of the speech
TELEPHONE = (300.0, 3400.0)  # Hz

# (samples,), a generator, files of others -> (samples,)
Sound = Callable[[np.ndarray, np.random.Generator, Sequence[Path]], np.ndarray]


def power_of(sound: np.ndarray) -> float:
    """Mean square of the louder frames: pauses are not speech."""
    frames = np.square(sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)).mean(axis=1)
    if not frames.size:
        return float(np.square(sound).mean()) if sound.size else 0.0
    return float(frames[frames >= 1e-3 * np.percentile(frames, 95)].mean())


def with_noise(sound: np.ndarray, noise: np.ndarray, ratio: float) -> np.ndarray:
    """Sound and noise (samples,), the speech ``ratio`` dB above the noise."""
    scale = np.sqrt(power_of(sound) / max(power_of(noise), 1e-20) / 10 ** (ratio / 10))
    return (sound + scale * noise).astype(np.float32)


def white(
    sound: np.ndarray, generator: np.random.Generator, others: Sequence[Path], decibel: float
) -> np.ndarray:
    """White noise, so far below the speech."""
    return with_noise(sound, generator.standard_normal(len(sound)), decibel)


def babble(
    sound: np.ndarray, generator: np.random.Generator, others: Sequence[Path], decibel: float
) -> np.ndarray:
    """Other clips, equally loud, at once, so far below the speech; the clip itself backwards where
    there are no others.
    """
    chosen = generator.permutation(len(others))[:VOICES]
    voices = [voice for number in chosen if (voice := _heard(others[number])) is not None]
    voices = voices or [sound[::-1]] * VOICES
    noise = np.zeros(len(sound))
    for voice in voices:
        started = np.roll(voice, generator.integers(len(voice)))
        noise += np.resize(started, len(sound)) / np.sqrt(max(power_of(voice), 1e-20))
    return with_noise(sound, noise, decibel)


def level(sound: np.ndarray, *_: Any, decibel: float) -> np.ndarray:
    """So much louder, or quieter where it is negative."""
    return (sound * 10 ** (decibel / 20)).astype(np.float32)


def telephone(sound: np.ndarray, *_: Any) -> np.ndarray:
    """The band of a telephone."""
    band = butter(4, TELEPHONE, "bandpass", fs=SAMPLE_RATE, output="sos")
    return sosfiltfilt(band, sound).astype(np.float32) if len(sound) > 64 else sound


MOST = 60  # dB: what is farther above or below is alone, or silence
NAMES = f"white20, babble10, level-20 (a kind and up to {MOST} decibels) and {telephone.__name__}"
_MEASURED = {one.__name__: one for one in (white, babble, level)}
_FORM = re.compile(rf"({'|'.join(_MEASURED)})(-?\d+(?:\.\d+)?)", re.ASCII)


class Worse(NamedTuple):
    """One way to make sound worse, and what it is called."""

    name: str
    make: Sound


def worse(given: str) -> Worse | None:
    """As ``white20``, ``babble10``, ``level-20`` or ``telephone`` says, or None."""
    if given == telephone.__name__:
        return Worse(given, telephone)
    found = _FORM.fullmatch(given)
    if not found or abs(decibel := float(found[2])) > MOST:
        return None
    return Worse(f"{found[1]}{decibel:g}", partial(_MEASURED[found[1]], decibel=decibel))


def generator_of(*names: str) -> np.random.Generator:
    """The same for the same names: the noise of a clip is the same each time."""
    return np.random.default_rng(zlib.crc32("/".join(names).encode(errors="replace")))


@lru_cache(maxsize=64)
def _heard(path: Path) -> np.ndarray | None:
    """The sound of another clip; None where it has none."""
    try:
        sound = read_waveform(path)
    except (MediaError, IndexError, OSError):
        return None
    return sound if sound.size else None
