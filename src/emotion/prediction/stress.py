"""How answers hold when sound and picture get worse: ``--stress``, in memory, on media files."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from emotion import registry
from emotion.errors import UserError
from emotion.inputs.extraction import Extractor
from emotion.inputs.media import SPEECH, Media
from emotion.inputs.video import MediaError
from emotion.inputs.worse_sound import Sound, babble, generator_of, level, telephone, white
from emotion.prediction.inputs import Item
from emotion.prediction.predictor import Ensemble
from emotion.prediction.reading import AHEAD, ItemReader, Prepared, Reading, crew_of, reader_here
from emotion.records import Clip, ClipFeatures
from emotion.workers import Lost, in_order

DARK = 0.25  # of the light is left
BLUR = 1 / 60  # of a picture's height: the deviation of the blur
LATE = 0.5  # seconds


class Condition(NamedTuple):
    """One way in which a clip gets worse."""

    name: str
    modality: str  # that hears or sees it
    sound: Sound | None = None
    picture: Callable[[np.ndarray], np.ndarray] | None = None
    late: float = 0.0  # seconds by which the picture lags behind the sound


def darkened(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) with a quarter of its light."""
    return (picture * DARK).astype(np.uint8)


def blurred(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) out of focus."""
    return cv2.GaussianBlur(picture, (0, 0), max(1.0, BLUR * picture.shape[0]))


CONDITIONS = (
    *(
        Condition(f"{kind.__name__} noise, {ratio} dB", "speech", partial(kind, decibel=ratio))
        for kind in (white, babble)
        for ratio in (20, 10, 0)
    ),
    Condition("level -20 dB", "speech", partial(level, decibel=-20)),
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
        return self.condition.sound(sound, generator_of(self.clip.stem), self.others)

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
    reader = predictor.reader(items)
    conditions = conditions_of(reader)
    answers = np.full((len(conditions), len(rows), predictor.n_classes), np.nan)
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
    try:
        clean = {one.settings: reader.features(index, one)[0] for one in reader.readings}
    except UserError:  # its answer was missing before
        return []
    others = [i.clip.path for n, i in enumerate(reader.items) if n != index and i.clip.path]

    def features(condition: Condition, _: int, reading: Reading) -> tuple[ClipFeatures, list[str]]:
        extractor = reader.extractors[reading.settings]
        media = WorseMedia(clip, clean[reading.settings], condition, others)
        return changed(extractor, media), []

    return [reader.prepared(index, partial(features, one)) for one in conditions_of(reader)]


def conditions_of(reader: ItemReader) -> list[Condition]:
    """Those that change anything that the models read."""
    read = [(reader.extractors[r.settings], set(r.features)) for r in reader.readings]
    return [
        one
        for one in CONDITIONS
        if any(names & set(touched(one, extractor)) for extractor, names in read)
    ]


def changed(extractor: Extractor, media: WorseMedia) -> ClipFeatures:
    """The stored features of a clip, those that the condition touches taken anew."""
    names = touched(media.condition, extractor)
    if SPEECH in names:
        media.speech = None  # where it is, is to be found anew, if it is to be found at all
    before = media.stored
    found = extractor.take(media, names)
    record = before.record._replace(
        states=before.record.states | found.states, facts=before.record.facts | found.facts
    )
    return before._replace(record=record, values=before.values | found.values)


def touched(condition: Condition, extractor: Extractor) -> list[str]:
    """The features that are made of what the condition changes, or of such features: what is said
    is heard in the sound, and embedded.
    """
    names: list[str] = []
    for name, feature in extractor.features.items():  # what a feature needs comes before it
        itself = feature.of_media and _is_of(condition, registry.feature_line(name).modality)
        if feature.is_made(extractor.settings) and (itself or {*feature.needs} & {*names}):
            names.append(name)
    return names


def _is_of(condition: Condition, modality: str) -> bool:
    """Whether a modality's features may be made of the sound, or picture, that gets worse."""
    return modality != "face" if condition.sound else modality == condition.modality
