"""A longer recording, read once, and cut into windows that are clips to a model.

What is held grows by 4 MB a minute for the sound and about as much for the coded face crops; frames
are never held.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from emotion.inputs.audio import (
    FRAME_SECONDS,
    SAMPLE_RATE,
    Speech,
    clip_level,
    extract_speech,
    frame_levels,
)
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.faces import track_faces
from emotion.inputs.store import Record
from emotion.inputs.video import probe, read_frames, read_waveform
from emotion.prediction.reading import Features, ItemReader, MemoryStore
from emotion.preprocessing.pipeline import (
    FeatureSettings,
    Tools,
    detect_every,
    embed_faces,
    shows_face,
)
from emotion.telling import printable

PAUSE_DECIBEL = 40.0  # below the recording's level: a window that stays there holds no speech


class Span(NamedTuple):
    """A window, in seconds of the recording."""

    start: float
    end: float


class Recording(NamedTuple):
    """Sound and faces of one file, at full length; None where there is no such stream."""

    duration: float  # seconds
    settings: FeatureSettings
    waveform: np.ndarray | None  # float32 (samples,), 16 kHz
    level: float  # of the waveform, dB below full scale
    faces: FaceTrack | None
    embedding: np.ndarray | None  # float16 (F, 512)

    def window(self, span: Span) -> Features:
        """The features of one window; it is trimmed and scaled as a clip of its own."""
        store = MemoryStore()
        start, frames = span.start, round((span.end - span.start) / FRAME_SECONDS)
        peak_db = None
        speech = self._speech(span)
        if speech is not None:
            start, frames = span.start + speech.start, speech.log_mel.shape[1]
            store.kept["speech"] = speech.log_mel
            peak_db = speech.peak_db
        track, rows = self._faces(start, start + frames * FRAME_SECONDS)
        if track is not None:
            store.kept["video"] = track
            if self.embedding is not None:
                store.kept["embedding"] = self.embedding[rows]
        return Features(
            store,
            "window",
            _record(span, start, frames, store, track)._replace(peak_db=peak_db),
            [],
        )

    def _speech(self, span: Span) -> Speech | None:
        if self.waveform is None:
            return None
        part = self.waveform[round(span.start * SAMPLE_RATE) : round(span.end * SAMPLE_RATE)]
        if not part.size or clip_level(frame_levels(part)) <= self.level - PAUSE_DECIBEL:
            return None  # scaled to its own level, noise would look like a voice
        return extract_speech(part, self.settings.denoise)

    def _faces(self, start: float, end: float) -> tuple[FaceTrack | None, np.ndarray]:
        """The crops within an interval, where there is a face in it, and their rows."""
        if self.faces is None:
            return None, np.zeros(0, int)
        rows = np.flatnonzero((self.faces.time >= start - 1e-6) & (self.faces.time < end))
        if not shows_face(self.faces.found[rows]):
            return None, rows
        # a row without a face repeats the nearest one, which may lie outside
        crops, crop = np.unique(self.faces.crop[rows], return_inverse=True)
        jpeg = [self.faces.jpeg[index] for index in crops]
        kept = {name: getattr(self.faces, name)[rows] for name in _ROW_FIELDS}
        return FaceTrack(jpeg=jpeg, crop=crop.astype(np.int32), **kept), rows


_ROW_FIELDS = ("time", "box", "probability", "found")


def read_recording(path: Path, settings: FeatureSettings, tools: Tools) -> Recording:
    """Read a file once: its sound, and a face crop every ``face_stride`` frames where wanted.

    Raises:
        MediaError: it cannot be read.
    """
    info = probe(path)
    waveform = read_waveform(path) if info.has_audio else None
    duration = max(info.duration, 0 if waveform is None else len(waveform) / SAMPLE_RATE)
    has_sound = waveform is not None and waveform.size
    level = clip_level(frame_levels(waveform)) if has_sound else -np.inf
    if not info.has_video or tools.detector is None:
        return Recording(duration, settings, waveform, level, None, None)
    times = np.arange(0, duration, settings.face_stride * FRAME_SECONDS)
    frames = tqdm(
        read_frames(path, times),
        desc=f"faces of {printable(path.name)}",
        total=len(times),
        disable=None,
    )
    every = detect_every(settings)
    faces = track_faces(times, frames, tools.detector, settings.jpeg_quality, every)
    embedded = tools.embedder is not None and faces.found.any()
    embedding = embed_faces(faces, tools.embedder) if embedded else None
    return Recording(duration, settings, waveform, level, faces, embedding)


def spans_of(duration: float, window: float, hop: float) -> list[Span]:
    """Windows of ``window`` seconds every ``hop``; the last one ends with the recording."""
    if duration <= window:
        return [Span(0.0, duration)]
    starts = np.arange(0.0, duration - window, hop)
    return [Span(float(start), float(start) + window) for start in (*starts, duration - window)]


class WindowReader(ItemReader):
    """The windows of one recording, by number."""

    def __init__(
        self, like: ItemReader, recordings: dict[FeatureSettings, Recording], spans: list[Span]
    ) -> None:
        super().__init__(like.items * len(spans), like.readings, like.weights, like.n_views)
        self.recordings = recordings
        self.spans = spans

    def features(self, index: int, settings: FeatureSettings) -> Features:
        """The features of one window."""
        return self.recordings[settings].window(self.spans[index])


def _record(
    span: Span, start: float, frames: int, store: MemoryStore, track: FaceTrack | None
) -> Record:
    def state(name: str, otherwise: str) -> str:
        return "ok" if name in store.kept else otherwise

    return Record(
        id="window",
        stem="window",
        speaker="",
        integrated="",
        face="",
        speech="",
        duration=span.end - span.start,
        start=start,
        end=start + frames * FRAME_SECONDS,
        frames=frames,
        face_frames=0 if track is None else len(track.time),
        face_coverage=0.0 if track is None else float(track.found.mean()),
        words=0,
        speech_state=state("speech", "silent"),
        video_state=state("video", "no_face"),
        embedding_state=state("embedding", "absent"),
        text_state="absent",  # words carry no times
    )
