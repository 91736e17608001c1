"""Log-mel spectrograms of the trimmed speech: kept as float16 (128, T), read frame by frame."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from emotion.clock import FRAME_SECONDS, N_MELS
from emotion.command_line import flag
from emotion.errors import UserError
from emotion.inputs.audio import ANALYSIS, at_its_level, extract_speech
from emotion.inputs.feature import Absent, Feature, Reader, Steps, Window
from emotion.inputs.media import Interval, Media
from emotion.inputs.speaker_norms import SpeakerNorms
from emotion.inputs.store import checked, numbers, read_array, write_array
from emotion.lazy import Lazy
from emotion.records import ClipFeatures, Record, Stream

if TYPE_CHECKING:
    from torch import Generator

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it asks a package index
LEAST_DEVIATION = 0.01  # of the 0 to 1 of a spectrogram at its level: 1.2 dB
albumentations = Lazy("albumentations")  # for --brightness above 0 alone
spec_augment = Lazy("emotion.inputs.spec_augment")  # takes torch along


@dataclass(frozen=True)
class Options:
    """How spectrograms are read."""

    speech_frames: int = 0  # of a training crop, fitted to the clips; shorter ones are padded to it
    normalise: str = flag(
        "none",
        "speaker: every value of a step (band, element of a vector) against its mean and spread "
        "over all clips of that speaker, unlabelled ones too",
        "model",
        ("none", "speaker"),
    )
    brightness: float = flag(
        0.2,
        "largest change of a spectrogram's brightness and contrast, in half of the clips; 0 where "
        "loudness tells",
        "augmentation",
        low=0.0,
        high=1.0,
        training=True,
    )
    vtlp: float = flag(
        0.0,
        "largest change of a speaker's vocal tract length, such as 0.1; 0 is none",
        "augmentation",
        low=0.0,
        high=0.5,
        training=True,
    )


class LogMel(Feature):
    """See the module."""

    name, folder, suffix = "speech", "speech", ".npy"
    settings = ("audio",)
    anew = True
    backdrop = "sound"
    facts = ("start", "end", "frames", "peak_db")
    reasons = {
        "absent": "has no audio",
        "silent": "has no voice: it is silent",
        "failed": "has no readable audio",
    }

    def describe(self, options: Any) -> dict[str, Any]:
        """How speech is cut and scaled."""
        return {"audio": ANALYSIS}

    def outdated(self, settings: dict[str, Any]) -> str:
        """Where speech was cut and scaled by another rule."""
        if settings.get("audio") == ANALYSIS:
            return ""
        return "was trained on speech that an earlier version cut and scaled"

    def by_speaker(self, options: Options) -> bool:
        """With ``--normalise speaker``."""
        return options.normalise == "speaker"

    def extract(self, media: Media, settings: dict[str, Any], tools: None) -> np.ndarray:
        """float16 (128, T) in [0, 1]."""
        if media.waveform is None:
            raise Absent("absent")
        if media.is_pause():
            raise Absent("silent")  # scaled to its own level, noise would look like a voice
        speech = extract_speech(media.waveform)
        if speech is None:
            raise Absent("silent")
        media.speech = Interval(speech.start, speech.end, speech.log_mel.shape[1])
        media.peak_db = speech.peak_db
        return speech.log_mel

    def describe_clip(self, media: Media, value: np.ndarray | None) -> dict[str, float | None]:
        """The interval that is described, all of the clip without a voice; what is 1 in it, dB."""
        heard = media.speech or media.whole
        return {
            "start": round(heard.start, 4),
            "end": round(heard.end, 4),
            "frames": heard.frames,
            "peak_db": None if value is None else round(media.peak_db, 2),
        }

    def write(self, file: BinaryIO, value: np.ndarray) -> None:
        """An npy file."""
        write_array(file, value)

    def read(self, path: Path, clip: ClipFeatures) -> np.ndarray:
        """float16 (128, T)."""
        return numbers(read_array(path))

    def shape(self, value: np.ndarray) -> tuple[int, ...]:
        """Bands."""
        return (N_MELS,)

    def reader(self, options: Options, shape: tuple[int, ...], store: Any = None) -> "LogMelReader":
        """With the norms of every speaker of ``store``, where they are wanted."""
        known = self.by_speaker(options) and store is not None
        norms = SpeakerNorms(store, self.name, bands_of, LEAST_DEVIATION) if known else None
        return LogMelReader(options, norms)

    def augment(
        self, stream: Stream, options: Options, generator: "Generator", fused: bool
    ) -> Stream:
        """Another throat, and SpecAugment."""
        if options.vtlp > 0:
            stream = spec_augment.warp_vocal_tract(stream, options.vtlp, generator)
        return spec_augment.spec_augment(stream, generator, warp=not fused)


class LogMelReader(Reader):
    """Crops of ``speech_frames`` in training, whole spectrograms otherwise."""

    def __init__(self, options: Options, norms: SpeakerNorms | None) -> None:
        super().__init__(options)
        self.norms = norms
        self.brightness: Brightness | None = None

    def window(self, record: Record, generator: np.random.Generator | None) -> Window | None:
        """In training a crop anywhere in the speech; what lies before and after the speech goes
        with its first and last frames.
        """
        if generator is None:
            return None
        frames, kept = int(record.fact("frames")), self.options.speech_frames
        first = int(generator.integers(max(frames - kept, 0) + 1))
        start, end = 0.0, max(record.duration, record.fact("end"))
        if first > 0:
            start = record.fact("start") + first * FRAME_SECONDS
        if first + kept < frames:
            end = record.fact("start") + (first + kept) * FRAME_SECONDS
        return Window(start, end)

    def steps(
        self, clip: ClipFeatures, window: Window | None, generator: np.random.Generator | None
    ) -> Steps:
        """(T, 128) float32; all masked where there is no voice."""
        record = clip.record
        start, frames = record.fact("start"), max(int(record.fact("frames")), 1)
        first, last = 0, frames
        if window is not None:
            first = max(0, round((window.start - start) / FRAME_SECONDS))
            last = min(frames, round((window.end - start) / FRAME_SECONDS))
        time = (start + np.arange(first, last) * FRAME_SECONDS).astype(np.float32)
        if record.state("speech") != "ok":
            nothing = np.zeros((last - first, N_MELS), np.float32)
            return Steps(nothing, np.zeros(last - first, bool), time)
        values = clip.read("speech").astype(np.float32)
        checked(clip, "speech", values.shape[0] == N_MELS and values.shape[1] == frames)
        values = self._changed(values[:, first:last], record, generator)
        return Steps(values.T, np.ones(last - first, bool), time)

    def _changed(
        self, values: np.ndarray, record: Record, generator: np.random.Generator | None
    ) -> np.ndarray:
        if self.norms is not None:  # who knows the speaker can tell loud from quiet
            values = at_its_level(values, level_of(record))
        if generator is not None:
            self.brightness = self.brightness or Brightness(self.options.brightness)
            values = self.brightness(values, generator)
        if self.norms is not None:  # last, so that 0, which pads, is the speaker's mean
            values = self.norms.apply(values.T, record.speaker).T
        return values


def bands_of(clip: ClipFeatures) -> np.ndarray:
    """Frames (T, 128) of a clip, at the level of its recording."""
    return at_its_level(clip.read("speech").astype(np.float32), level_of(clip.record)).T


def level_of(record: Record) -> float:
    """What the scaling of a clip's spectrogram took away, in dB.

    Raises:
        UserError: its features are from before it was kept.
    """
    if record.facts.get("peak_db") is None:
        raise UserError(
            f"{record.stem}: its features do not say how loud it was (peak_db in manifest.csv); "
            "run preprocess.py into another --features_dir, or leave out --normalise speaker"
        )
    return record.fact("peak_db")


class Brightness:
    """Brightness and contrast of a spectrogram taken as a picture (albumentations)."""

    def __init__(self, limit: float = 0.2, probability: float = 0.5) -> None:
        self.transform = None
        if limit > 0:
            change = albumentations.RandomBrightnessContrast(limit, limit, p=probability)
            self.transform = albumentations.Compose([change], seed=0)

    def __call__(self, log_mel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Change float32 (128, T) in [0, 1]; albumentations takes its own seed, so it gets one."""
        seed = int(generator.integers(2**31))  # drawn in any case: what follows stays alike
        if self.transform is None:
            return log_mel
        self.transform.set_random_seed(seed)
        return self.transform(image=log_mel[..., None])["image"][..., 0]


FEATURE = LogMel()
