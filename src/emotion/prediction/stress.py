"""How answers hold when sound and picture get worse: ``--stress``, in memory, on media files."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy.signal import butter, sosfiltfilt
from tqdm import tqdm

from emotion import registry
from emotion.clock import SAMPLE_RATE
from emotion.errors import UserError
from emotion.inputs.extraction import Extractor
from emotion.inputs.media import Media
from emotion.inputs.video import MediaError, read_waveform
from emotion.prediction.inputs import Item
from emotion.prediction.predictor import Ensemble
from emotion.prediction.reading import AHEAD, ItemReader, Prepared, Reading, crew_of, reader_here
from emotion.records import Clip, ClipFeatures
from emotion.workers import Lost, in_order

VOICES = 6  # of other clips that babble together
FRAME = 512  # samples: of which the louder ones are the level of the speech
TELEPHONE = (300.0, 3400.0)  # Hz
DARK = 0.25  # of the light is left
BLUR = 1 / 60  # of a picture's height: the deviation of the blur
LATE = 0.5  # seconds

Sound = Callable[[np.ndarray, np.random.Generator, Sequence[Path]], np.ndarray]


class Condition(NamedTuple):
    """One way in which a clip gets worse."""

    name: str
    modality: str  # that hears or sees it
    sound: Sound | None = None  # (samples,), a generator, files of others -> (samples,)
    picture: Callable[[np.ndarray], np.ndarray] | None = None
    late: float = 0.0  # seconds by which the picture lags behind the sound


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
    sound: np.ndarray, generator: np.random.Generator, others: Sequence[Path], ratio: float
) -> np.ndarray:
    """White noise."""
    return with_noise(sound, generator.standard_normal(len(sound)), ratio)


def babble(
    sound: np.ndarray, generator: np.random.Generator, others: Sequence[Path], ratio: float
) -> np.ndarray:
    """Other clips, equally loud, at once; the clip itself backwards where there are no others."""
    chosen = generator.permutation(len(others))[:VOICES]
    voices = [voice for number in chosen if (voice := _heard(others[number])) is not None]
    voices = voices or [sound[::-1]] * VOICES
    noise = np.zeros(len(sound))
    for voice in voices:
        started = np.roll(voice, generator.integers(len(voice)))
        noise += np.resize(started, len(sound)) / np.sqrt(max(power_of(voice), 1e-20))
    return with_noise(sound, noise, ratio)


def quiet(sound: np.ndarray, *_: Any, decibel: float = -20.0) -> np.ndarray:
    """At another level."""
    return (sound * 10 ** (decibel / 20)).astype(np.float32)


def telephone(sound: np.ndarray, *_: Any) -> np.ndarray:
    """The band of a telephone."""
    band = butter(4, TELEPHONE, "bandpass", fs=SAMPLE_RATE, output="sos")
    return sosfiltfilt(band, sound).astype(np.float32) if len(sound) > 64 else sound


def darkened(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) with a quarter of its light."""
    return (picture * DARK).astype(np.uint8)


def blurred(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) out of focus."""
    return cv2.GaussianBlur(picture, (0, 0), max(1.0, BLUR * picture.shape[0]))


CONDITIONS = (
    *(
        Condition(f"{kind.__name__} noise, {ratio} dB", "speech", partial(kind, ratio=ratio))
        for kind in (white, babble)
        for ratio in (20, 10, 0)
    ),
    Condition("level -20 dB", "speech", quiet),
    Condition("telephone band", "speech", telephone),
    Condition("dark picture", "face", picture=darkened),
    Condition("blurred picture", "face", picture=blurred),
    Condition("picture 0.5 s late", "face", late=LATE),
)


class WorseMedia(Media):
    """A clip under a condition; ``others`` are files that babble."""

    def __init__(
        self, clip: Clip, stored: ClipFeatures, condition: Condition, others: Sequence[Path]
    ) -> None:
        super().__init__(clip, stored)
        self.condition = condition
        self.others = others

    @cached_property
    def _sound(self) -> np.ndarray | MediaError | None:
        sound = super()._sound
        if self.condition.sound is None or not isinstance(sound, np.ndarray) or not sound.size:
            return sound
        generator = np.random.default_rng(zlib.crc32(self.clip.stem.encode(errors="replace")))
        return self.condition.sound(sound, generator, self.others)

    def frames(self, times: np.ndarray) -> Iterator[np.ndarray | None]:
        """As the condition shows them."""
        change = self.condition.picture
        for frame in super().frames(times - self.condition.late):
            yield change(frame) if change and frame is not None else frame


def stressed(
    predictor: Ensemble, items: Sequence[Item], rows: Sequence[int], workers: int, timeout: float
) -> dict[str, np.ndarray]:
    """What the models answer to some of the items under each condition that they hear or see.

    Returns:
        Name of the condition -> (rows, classes) probabilities, NaN where there is no answer.
    """
    read = {part.modality for reading in predictor.readings for part in reading.recipe.parts}
    conditions = [one for one in CONDITIONS if one.modality in read]
    answers = np.full((len(conditions), len(rows), predictor.n_classes), np.nan)
    reader = predictor.reader(items)
    read_all = _read_all(reader, rows, workers, timeout)
    for row, prepared in enumerate(tqdm(read_all, "stress", len(rows), unit="clip", disable=None)):
        if prepared:
            # one at a time: answers are told apart by the clip, which is the same throughout
            answers[:, row] = np.concatenate([predictor.probabilities([one]) for one in prepared])
    return {one.name: own for one, own in zip(conditions, answers, strict=True)}


def _read_all(
    reader: ItemReader, rows: Sequence[int], workers: int, timeout: float
) -> Iterator[list[Prepared]]:
    """Each item under all conditions; nothing of one that kills its decoder."""
    if not workers:
        yield from (read_worse(reader, row) for row in rows)
        return
    crew = crew_of(reader, _read_here, timeout)
    for found in in_order(rows, min(workers, len(rows)), crew, AHEAD):
        yield [] if isinstance(found, Lost) else found


def _read_here(index: int) -> list[Prepared]:
    return read_worse(reader_here(), index)


def read_worse(reader: ItemReader, index: int) -> list[Prepared]:
    """One item under every condition that any of the models hears or sees.

    What a condition does not touch is taken once.
    """
    clip = reader.items[index].clip
    parts = [part for reading in reader.readings for part in reading.recipe.parts]
    conditions = [one for one in CONDITIONS if one.modality in {part.modality for part in parts}]
    try:
        clean = {one.settings: reader.features(index, one)[0] for one in reader.readings}
    except UserError:  # its answer was missing before
        return []
    others = [i.clip.path for n, i in enumerate(reader.items) if n != index and i.clip.path]

    def features(condition: Condition, _: int, reading: Reading) -> tuple[ClipFeatures, list[str]]:
        extractor = reader.extractors[reading.settings]
        media = WorseMedia(clip, clean[reading.settings], condition, others)
        return _changed(extractor, media), []

    return [reader.prepared(index, partial(features, one)) for one in conditions]


def _changed(extractor: Extractor, media: WorseMedia) -> ClipFeatures:
    """The stored features of a clip, those that the condition touches taken anew."""
    touched = [name for name in extractor.features if _touches(media.condition, name)]
    before = media.stored
    found = extractor.take(media, touched)
    record = before.record._replace(
        states=before.record.states | found.states, facts=before.record.facts | found.facts
    )
    return before._replace(record=record, values=before.values | found.values)


def _touches(condition: Condition, name: str) -> bool:
    """Whether a feature is made of what the condition changes: sound may become words."""
    modality = registry.feature_line(name).modality
    if condition.sound is None:
        return modality == condition.modality
    return modality != "face" and registry.feature(name).of_media


@lru_cache(maxsize=64)
def _heard(path: Path) -> np.ndarray | None:
    """The sound of another clip; None where it has none."""
    try:
        sound = read_waveform(path)
    except (MediaError, IndexError, OSError):
        return None
    return sound if sound.size else None
