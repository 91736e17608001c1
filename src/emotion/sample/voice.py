"""A made-up voice for the generated sample corpus, by source-filter synthesis.

A glottal pulse train (Klatt & Klatt 1990, KLGLOTT88 flow derivative) with jitter and shimmer, plus
breath noise, passes through the formant resonators of a sequence of vowels; bursts of noise stand
for consonants. It says nothing, in no language: only *how* it speaks depends on the style.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

SAMPLE_RATE = 16000
VOWELS = (  # formants 1-4 in Hz of a, e, i, o, u
    (760, 1250, 2550, 3600),
    (500, 1800, 2500, 3500),
    (310, 2200, 2950, 3650),
    (480, 900, 2450, 3400),
    (340, 800, 2300, 3350),
)
BANDWIDTHS = (80.0, 100.0, 150.0, 220.0)
BACKGROUND_DB = (-66.0, -58.0)  # noise of the room, against full scale


@dataclass(frozen=True)
class VoiceStyle:
    """How a voice speaks."""

    pitch: float  # Hz
    accent: float  # semitones: how far single syllables leave the line
    slope: float  # semitones from the first to the last syllable
    rate: float  # syllables a second
    voiced: float  # share of a syllable that sounds: low is clipped, 1 is drawn out
    corner: float  # Hz above which the source falls off: spectral tilt
    breath: float  # noise against pulses
    roughness: float  # jitter, shimmer and every second pulse weaker, 0-1
    tremor: float  # semitones, at 6-7 Hz
    level: float  # dB against full scale, peak


STYLES: Mapping[str, VoiceStyle] = {
    "bright": VoiceStyle(270, 4.0, 5.0, 5.0, 0.85, 3500, 0.06, 0.03, 0.1, -7),
    "harsh": VoiceStyle(175, 2.0, -5.0, 6.0, 0.55, 7000, 0.25, 0.45, 0.0, -2),
    "creaky": VoiceStyle(85, 0.7, -3.0, 2.4, 0.95, 1800, 0.05, 0.85, 0.0, -14),
    "trembling": VoiceStyle(310, 1.0, 1.0, 7.5, 0.8, 1500, 0.9, 0.10, 1.6, -16),
    "level": VoiceStyle(140, 0.4, -1.0, 3.6, 0.9, 450, 0.02, 0.02, 0.0, -20),
}


@dataclass(frozen=True)
class _Syllables:
    """Timing and colour of the syllables of one clip; all arrays are (syllables,)."""

    start: np.ndarray  # seconds
    length: np.ndarray  # seconds
    vowel: np.ndarray  # index into VOWELS
    accent: np.ndarray  # semitones
    strength: np.ndarray  # amplitude, 0-1


def _draw_syllables(
    style: VoiceStyle, speech: tuple[float, float], generator: np.random.Generator
) -> _Syllables:
    start, end = speech
    count = max(2, round(style.rate * generator.uniform(0.92, 1.08) * (end - start)))
    lengths = generator.uniform(0.8, 1.2, count)
    lengths *= (end - start) / lengths.sum()
    starts = start + np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    vowels = generator.integers(0, len(VOWELS), count)
    accents = generator.normal(0, 0.7, count) + np.where(np.arange(count) % 2, -0.7, 0.7)
    strength = generator.uniform(0.7, 1.0, count)
    return _Syllables(starts, lengths, vowels, accents * style.accent, strength)


def _pitch(
    style: VoiceStyle, syllables: _Syllables, times: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Fundamental frequency in Hz at ``times`` (samples,)."""
    centres = syllables.start + syllables.length / 2
    line = style.slope * np.linspace(-0.5, 0.5, len(centres)) + syllables.accent
    semitones = np.interp(times, centres, line)
    semitones += style.tremor * np.sin(2 * np.pi * generator.uniform(6, 7) * times)
    slow_noise = generator.normal(0, 1, len(times) // 80 + 2)  # a new value every 5 ms
    jitter = np.interp(np.arange(len(times)) / 80, np.arange(len(slow_noise)), slow_noise)
    semitones += (0.08 + 1.2 * style.roughness) * jitter
    speaker = generator.uniform(-1.5, 1.5)
    return style.pitch * 2 ** ((semitones + speaker) / 12)


def _source(style: VoiceStyle, pitch: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Glottal flow derivative plus breath noise, (samples,)."""
    phase = np.cumsum(pitch) / SAMPLE_RATE
    cycle = phase.astype(int)
    within = phase - cycle
    open_share = 0.65
    is_open = within < open_share
    pulses = np.where(is_open, 2 * open_share * within - 3 * within**2, 0.0) / open_share**2
    shimmer = 1 + (0.03 + 0.25 * style.roughness) * generator.normal(0, 1, cycle[-1] + 1)
    shimmer *= np.where(np.arange(len(shimmer)) % 2, 1 - 0.6 * style.roughness, 1.0)
    decay = np.exp(-2 * np.pi * style.corner / SAMPLE_RATE)
    pulses = lfilter([1 - decay], [1, -decay], pulses * shimmer[cycle])
    noise = np.diff(generator.normal(0, 1, len(pitch) + 1))  # breath is brighter than white
    level = np.sqrt(np.mean(pulses**2))
    return pulses + style.breath * level * noise * np.where(is_open, 1.0, 0.4)


def _envelope(syllables: _Syllables, index: int, voiced: float, times: np.ndarray) -> np.ndarray:
    """Loudness of one syllable's vowel over ``times``: quick attack, slower release."""
    start = syllables.start[index]
    end = start + voiced * syllables.length[index]
    attack, release = 0.02, min(0.05, 0.4 * (end - start))
    corners = [start, start + attack, end - release, end + 0.01]
    return np.interp(times, corners, [0, 1, 1, 0]) * syllables.strength[index]


def _resonators(formants: tuple[int, ...], scale: float) -> np.ndarray:
    """A cascade of two-pole resonators with gain 1 at 0 Hz, second-order sections (formants, 6)."""
    sections = []
    for frequency, bandwidth in zip(formants, BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
        first = -2 * radius * np.cos(2 * np.pi * frequency * scale / SAMPLE_RATE)
        second = radius**2
        sections.append([1 + first + second, 0, 0, 1, first, second])
    return np.array(sections)


def _vowels(
    style: VoiceStyle, syllables: _Syllables, times: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """All vowels: each has its own tract, so a syllable rings out while the next one starts."""
    source = _source(style, _pitch(style, syllables, times, generator), generator)
    scale = generator.uniform(0.93, 1.12)  # length of the speaker's vocal tract
    voice, loudness = np.zeros_like(times), np.zeros_like(times)
    for index, formants in enumerate(VOWELS):
        envelope = np.zeros_like(times)
        for syllable in np.flatnonzero(syllables.vowel == index):
            envelope += _envelope(syllables, syllable, style.voiced, times)
        voice += sosfilt(_resonators(formants, scale), source * envelope)
        loudness += envelope
    # Part of the breath arises at the lips, in front of the resonators.
    hiss = np.diff(generator.normal(0, 1, len(times) + 1)) * loudness
    return voice + 0.12 * style.breath * np.sqrt(np.mean(voice**2)) * hiss


def _consonants(
    syllables: _Syllables, times: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Noise bursts before most vowels: hissing ones (3-7 kHz) and stops (0.8-4 kHz)."""
    bursts = np.zeros_like(times)
    for band, length in (((3000, 7000), 0.07), ((800, 4000), 0.025)):
        chosen = generator.random(len(syllables.start)) < 0.35
        envelope = np.zeros_like(times)
        for start in syllables.start[chosen]:
            corners = [start - 0.6 * length, start - 0.2 * length, start + 0.4 * length]
            envelope += np.interp(times, corners, [0.0, 1.0, 0.0])
        sections = butter(2, band, "bandpass", fs=SAMPLE_RATE, output="sos")
        bursts += sosfilt(sections, generator.normal(0, 1, len(times))) * envelope
    return bursts


def speak(
    style: VoiceStyle,
    duration: float,
    speech: tuple[float, float],
    generator: np.random.Generator,
) -> np.ndarray:
    """One utterance with near-silence around it.

    Args:
        style: how it is spoken.
        duration: of the whole clip, seconds.
        speech: where the voice starts and ends, seconds; the same whatever the style.
        generator: drives the syllables, the speaker and the noise.

    Returns:
        float32 (samples,) in -1..1 at SAMPLE_RATE.
    """
    times = np.arange(round(duration * SAMPLE_RATE)) / SAMPLE_RATE
    syllables = _draw_syllables(style, speech, generator)
    voice = _vowels(style, syllables, times, generator)
    voice *= 1.0 / np.sqrt(np.mean(voice**2))
    voice += 0.25 * _consonants(syllables, times, generator)
    voice *= 10 ** ((style.level + generator.uniform(-2, 2)) / 20) / np.abs(voice).max()
    room = 10 ** (generator.uniform(*BACKGROUND_DB) / 20) * generator.normal(0, 1, len(times))
    return np.clip(voice + room, -1, 1).astype(np.float32)
