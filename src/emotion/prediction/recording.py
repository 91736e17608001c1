"""A longer recording, read once, and cut into windows that are clips to a model.

What is held grows by 4 MB per minute for the sound and about as much for the coded face crops;
frames are never held.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from emotion.inputs.extraction import Extracted, Extractor
from emotion.inputs.media import Media, MediaWindow
from emotion.inputs.video import MediaError
from emotion.prediction.reading import ItemReader, Reading
from emotion.records import Clip, ClipFeatures

LEAST_APART = 1e-3  # seconds between the last two windows: sums of hops are not exact


class Span(NamedTuple):
    """A window, in seconds of the recording."""

    start: float
    end: float


class Recording(NamedTuple):
    """The sound of one file, and its features at full length."""

    media: Media
    values: dict[str, Any]  # by feature
    extractor: Extractor

    def window(self, span: Span) -> ClipFeatures:
        """The features of one window; its speech is trimmed and scaled as a clip of its own."""
        media = MediaWindow(self.media, span.start, span.end)
        return self.extractor.cut(media, self.values).clip(self.media.clip)


def read_recording(clip: Clip, extractor: Extractor) -> Recording:
    """Read a file once: its sound, and what can be cut into windows.

    Raises:
        MediaError: it cannot be read.
    """
    media = Media(clip)
    _ = media.info, media.waveform  # which say why they cannot be read
    whole = [name for name, feature in extractor.features.items() if not feature.anew]
    found = extractor.take(media, whole)
    _take_of_few_faces(media, extractor, found)
    if reasons := [reason for _, reason in found.failures]:
        raise MediaError(reasons[0])
    media.values = found.values  # kept once is enough
    return Recording(media, found.values, extractor)


def _take_of_few_faces(media: Media, extractor: Extractor, found: Extracted) -> None:
    """Features of the crops, where faces are too few for the whole, as they may be enough for a
    window.
    """
    track = found.values.get("video")
    if track is None or found.states["video"] == "ok" or not track.found.any():
        return
    media.values["video"] = track
    of_crops = [name for name, made in extractor.features.items() if "video" in made.needs]
    more = extractor.take(media, of_crops)
    found.values.update(more.values)
    found.failures.extend(more.failures)


def spans_of(duration: float, window: float, hop: float) -> list[Span]:
    """Windows of ``window`` seconds every ``hop``; the last one ends with the recording."""
    if duration <= window:
        return [Span(0.0, duration)]
    last = duration - window
    starts = np.arange(0.0, last - LEAST_APART, hop)
    return [Span(float(start), float(start) + window) for start in (*starts, last)]


class WindowReader(ItemReader):
    """The windows of one recording, by number."""

    def __init__(
        self, like: ItemReader, recordings: dict[tuple, Recording], spans: Sequence[Span]
    ) -> None:
        super().__init__(
            like.items * len(spans), like.readings, like.options, like.n_views, like.blocked
        )
        self.recordings = recordings
        self.spans = spans

    def features(self, index: int, reading: Reading) -> tuple[ClipFeatures, list[str]]:
        """The features of one window."""
        return self.recordings[reading.settings].window(self.spans[index]), []
