"""Windows from pause to pause: what is said in one breath is answered as a whole."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from emotion.clock import FRAME_SECONDS
from emotion.inputs.audio import SILENCE_DB, clip_level, frame_levels
from emotion.inputs.spoken import Spoken
from emotion.prediction.recording import Recording, Span

PHRASE = "phrase"  # the value of --window
PAUSE = 0.4  # seconds without words, or of quiet, that end a phrase
QUIET_DB = 25.0  # below the recording's level
MARGIN = 0.1  # seconds before and after a phrase that are read with it
LEAST, MOST = 0.5, 12.0  # seconds of a window: shorter phrases are widened, longer ones divided


def phrases_of(recording: Recording) -> list[Span]:
    """The phrases of a recording: of its words where their times are known, else of its sound."""
    spoken = next((v for v in recording.values.values() if isinstance(v, Spoken)), None)
    if spoken is not None and spoken.timed:
        parts = [(word.start, word.end) for word in spoken.timed]
    else:
        parts = loud_parts(recording.media.waveform)
    return [
        part
        for start, end in joined(parts)
        for part in _windows(start - MARGIN, end + MARGIN, recording.media.duration)
    ]


def loud_parts(waveform: np.ndarray | None) -> list[tuple[float, float]]:
    """Seconds in which sound, float32 (samples,), is less than 25 dB below its level."""
    if waveform is None or not waveform.size:
        return []
    levels = frame_levels(waveform)
    loud = levels > max(clip_level(levels) - QUIET_DB, SILENCE_DB)
    edges = np.flatnonzero(np.diff(np.pad(loud.astype(int), 1))).reshape(-1, 2)
    return [(first * FRAME_SECONDS, last * FRAME_SECONDS) for first, last in edges.tolist()]


def joined(parts: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Parts with less than a pause between them as one."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(parts):
        if found and start - found[-1][1] < PAUSE:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def _windows(start: float, end: float, duration: float) -> list[Span]:
    lacking = max(0.0, LEAST - (end - start)) / 2
    start, end = max(0.0, start - lacking), min(duration, end + lacking)
    count = max(1, int(np.ceil((end - start) / MOST)))
    edges = np.linspace(start, end, count + 1).tolist()
    return [Span(*one) for one in pairwise(edges)]
