"""One clip's media file, opened once for all features that are taken from it."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from emotion.clock import FRAME_SECONDS, HOP_LENGTH, SAMPLE_RATE
from emotion.errors import UserError
from emotion.inputs.audio import clip_level, frame_levels
from emotion.inputs.video import MediaError, MediaInfo, probe, read_frames, read_waveform
from emotion.records import Clip, ClipFeatures


class Absent(Exception):  # noqa: N818
    """A clip has no such feature: the state says why, such as ``silent``; what was extracted all
    the same is kept where the feature says so (``Feature.kept``).
    """

    def __init__(self, state: str, value: Any = None) -> None:
        super().__init__(state)
        self.state = state
        self.value = value


class Interval(NamedTuple):
    """A part of a clip."""

    start: float  # seconds
    end: float
    frames: int  # of a spectrogram


SPEECH = "speech"  # the features that trim it
PAUSE_DECIBEL = 40.0  # below the recording's level: a window that stays there holds no speech


class Media:
    """A clip's sound, decoded when first asked for, and the features that were taken before."""

    def __init__(self, clip: Clip, stored: ClipFeatures | None = None) -> None:
        """``stored``: what is kept of the clip, where not everything is extracted again."""
        self.clip = clip
        self.stored = stored
        self.values: dict[str, Any] = {}  # features extracted before, by name
        self.broken = False  # whether its file cannot be opened
        self.speech: Interval | None = None  # of the trimmed speech, once it is known
        self.peak_db = 0.0  # of the speech: the level that is 1 in its spectrogram
        if stored is not None and stored.record.state("speech") == "ok":
            start, end, frames = (stored.record.fact(name) for name in Interval._fields)
            self.speech = Interval(start, end, int(frames))

    def value(self, feature: str) -> Any | None:
        """Another feature of the clip; None where it has none.

        Raises:
            UserError: the stored one is missing or damaged.
        """
        if feature in self.values:
            return self.values[feature]
        there = self.stored is not None and self.stored.record.state(feature) == "ok"
        return self.stored.read(feature) if there else None

    def value_of_all(self, feature: str) -> Any | None:
        """As ``value``, of the whole recording where this is a window of one."""
        return self.value(feature)

    @property
    def is_window(self) -> bool:
        """Whether this is a part of a longer recording."""
        return False

    @cached_property
    def info(self) -> MediaInfo:
        """What the file's header says; nothing of a transcript alone.

        Raises:
            MediaError: the file is not readable as media.
        """
        return probe(self.clip.path) if self.clip.path else MediaInfo(0.0, False, False)

    @property
    def waveform(self) -> np.ndarray | None:
        """The first audio stream, float32 (samples,), 16 kHz mono; None where there is none.

        Raises:
            MediaError: it cannot be decoded.
        """
        if isinstance(self._sound, MediaError):
            raise self._sound
        return self._sound

    @cached_property
    def _sound(self) -> np.ndarray | MediaError | None:
        if not self.info.has_audio:
            return None
        try:
            return read_waveform(self.clip.path)
        except MediaError as error:
            return MediaError(str(error))  # without a traceback, which would hold the decoder

    def spoken(self) -> np.ndarray:
        """The trimmed speech, float32 (samples,), 16 kHz.

        Raises:
            Absent: there is no sound, or no speech in it.
            MediaError: it cannot be decoded.
            UserError: nobody has looked for it.
        """
        if self.waveform is None:
            raise Absent("absent")
        if self.speech is None and self.stored is None and SPEECH not in self.values:
            raise UserError(f"features of the speech have to say so: needs = ({SPEECH!r},)")
        if self.speech is None:
            raise Absent("silent")
        first, last = (round(t * SAMPLE_RATE) for t in self.speech[:2])
        return self.waveform[first:last]

    def frames(self, times: np.ndarray) -> Iterator[np.ndarray | None]:
        """The picture on screen at each of the ascending ``times`` (seconds): see ``read_frames``.

        Raises:
            MediaError: it cannot be decoded.
        """
        return read_frames(self.clip.path, times)

    @cached_property
    def duration(self) -> float:
        """Seconds: of the container, or of the sound where that is longer."""
        if self.broken:
            return 0.0
        sound = self._sound
        heard = len(sound) / SAMPLE_RATE if isinstance(sound, np.ndarray) else 0.0
        return max(self.info.duration, heard)

    @cached_property
    def level(self) -> float:
        """Of the sound, dB below full scale."""
        sound = self._sound
        has_sound = isinstance(sound, np.ndarray) and sound.size
        return clip_level(frame_levels(sound)) if has_sound else -np.inf

    def is_pause(self) -> bool:
        """Whether it is a part of a recording that stays far below the level of all of it."""
        return False

    @property
    def whole(self) -> Interval:
        """All of the clip; nothing of one that cannot be opened, or is a transcript alone."""
        if self.clip.path is None or self.broken:
            return Interval(0.0, 0.0, 0)
        return Interval(0.0, self.duration, 1 + int(self.duration * SAMPLE_RATE) // HOP_LENGTH)


class MediaWindow(Media):
    """A part of a recording that was read already. Its times count from its own start."""

    def __init__(self, recording: Media, start: float, end: float) -> None:
        super().__init__(recording.clip)
        self.recording = recording
        self.start = start
        self.end = end

    def value_of_all(self, feature: str) -> Any | None:
        """Of the recording."""
        return self.recording.value(feature)

    @property
    def is_window(self) -> bool:
        """Yes."""
        return True

    @property
    def info(self) -> MediaInfo:
        """That of the recording, but for its length."""
        return self.recording.info._replace(duration=self.end - self.start)

    @cached_property
    def _sound(self) -> np.ndarray | MediaError | None:
        sound = self.recording.waveform
        if sound is None:
            return None
        return sound[round(self.start * SAMPLE_RATE) : round(self.end * SAMPLE_RATE)]

    @property
    def duration(self) -> float:
        """Seconds of the window."""
        return self.end - self.start

    @property
    def whole(self) -> Interval:
        """All of the window, in whole frames."""
        frames = round(self.duration / FRAME_SECONDS)
        return Interval(0.0, frames * FRAME_SECONDS, frames)

    def is_pause(self) -> bool:
        """Whether it stays 40 dB below the level of the recording."""
        sound = self._sound
        return not sound.size or self.level <= self.recording.level - PAUSE_DECIBEL
