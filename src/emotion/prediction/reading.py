"""Items to samples: the code of preprocess.py and train.py, with the features held in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from emotion.corpora import Labels
from emotion.data.dataset import FeatureDataset, Inputs, Sample
from emotion.data.examples import Example
from emotion.data.speakers import SpeakerNorms
from emotion.errors import UserError, first_line
from emotion.inputs.audio import FRAME_SECONDS
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.store import Failure, FeatureStore, Record
from emotion.prediction.inputs import Item
from emotion.prediction.views import views_of
from emotion.preprocessing.jobs import Job, process
from emotion.preprocessing.pipeline import FeatureSettings, Tools
from emotion.workers import Crew, Lost, in_order

MOST_FRAMES = 20_000  # of a clip, 5 minutes: a network holds a GB of EfficientNet-B0 for each 4,000
AHEAD = 64  # items that may be read before an earlier one is


class MemoryStore(FeatureStore):
    """``features/`` of one clip, held in memory."""

    def __init__(self) -> None:
        super().__init__(Path("memory"))
        self.kept: dict[str, Any] = {}

    def write_array(self, split: str, modality: str, name: str, values: np.ndarray) -> None:
        """Keep speech (128, T) or an embedding (F, 512)."""
        self.kept[modality] = values

    def read_array(self, split: str, modality: str, name: str) -> np.ndarray:
        """What ``write_array`` was given."""
        return self.kept[modality]

    def write_faces(self, split: str, stem: str, track: FaceTrack) -> None:
        """Keep the face crops."""
        self.kept["video"] = track

    def read_faces(self, split: str, stem: str) -> FaceTrack:
        """What ``write_faces`` was given."""
        return self.kept["video"]

    def read_face_clock(self, split: str, stem: str) -> tuple[np.ndarray, np.ndarray]:
        """``time`` (F,) in seconds and ``found`` (F,)."""
        return self.kept["video"].time, self.kept["video"].found

    def write_text(self, split: str, identifier: str, words: np.ndarray) -> None:
        """Keep word embeddings (W, D)."""
        self.kept["text"] = words

    def read_text(self, split: str, identifier: str) -> np.ndarray:
        """What ``write_text`` was given."""
        return self.kept["text"]


class Reading(NamedTuple):
    """What a model reads of a clip; models that read alike share it."""

    settings: FeatureSettings
    inputs: Inputs


class Features(NamedTuple):
    """The features of one clip, wherever they lie."""

    store: FeatureStore
    split: str
    record: Record
    failures: list[Failure]
    norms: Mapping[bool, SpeakerNorms] = MappingProxyType({})  # by whether clips keep their level

    def sample(self, inputs: Inputs, name: str) -> Sample:
        """The arrays that a model reads, under ``name``.

        Raises:
            UserError: a file is missing or damaged.
        """
        example = Example(self.split, self.record, -1, -1, -1)
        norms = self.norms.get(inputs.speech_level)
        dataset = FeatureDataset(self.store, [example], inputs, norms=norms)
        return dataset[0, 0]._replace(id=name)


class Prepared(NamedTuple):
    """One item, read."""

    index: int
    record: Record | None  # None where nothing could be read at all
    samples: list[list[Sample]]  # a list of views a reading; empty where it has nothing to read
    failures: list[str]  # one line each


class ItemReader(Dataset):
    """Items by number, read for every ``Reading``; a bad one is never an exception."""

    def __init__(
        self,
        items: Sequence[Item],
        readings: Sequence[Reading],
        weights: Path | None = None,
        n_views: int = 1,
    ) -> None:
        self.items = list(items)
        self.readings = readings
        self.weights = weights
        self.n_views = n_views
        stores = {item.store.root: item.store for item in items if item.store is not None}
        levels = {r.inputs.speech_level for r in readings if r.inputs.by_speaker}
        self.norms = {
            root: {level: SpeakerNorms(store, level) for level in levels}
            for root, store in stores.items()
        }

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Prepared:
        """Read one item."""
        try:
            return self._prepare(index)
        except UserError as error:
            reason = str(error)
        except Exception as error:  # whatever a file does to a decoder, the others get their answer
            reason = f"{type(error).__name__}: {first_line(error)}"
        return self.unread(index, reason)

    def unread(self, index: int, reason: str) -> Prepared:
        """An item of which nothing could be read."""
        return Prepared(index, None, [[] for _ in self.readings], [reason])

    def features(self, index: int, settings: FeatureSettings) -> Features:
        """The features of one item: those stored, or extracted now.

        Raises:
            UserError: a file is missing or damaged.
        """
        item = self.items[index]
        if item.store is not None:
            norms = self.norms[item.store.root]
            return Features(item.store, item.clip.split, item.record, [], norms)
        store = MemoryStore()
        # the stem names files, of which there are none here: it may be too long for one
        job = Job(item.clip._replace(labels=Labels(), stem="clip"), None)
        outcome = process(job, store, (), settings, self.tools[settings])
        return Features(store, item.clip.split, outcome.record, outcome.failures)

    @cached_property
    def tools(self) -> dict[FeatureSettings, Tools]:
        """By settings; made in the process that works with them."""
        tools: dict[FeatureSettings, Tools] = {}
        for settings, inputs in self.readings:
            made = tools.setdefault(settings, Tools(None, faces=False))
            made.faces |= bool(inputs.face)
            if inputs.face == "embedding":
                made.weights = self.weights
        return tools

    def _prepare(self, index: int) -> Prepared:
        found = {
            s: self.features(index, s) for s in dict.fromkeys(r.settings for r in self.readings)
        }
        failures = [f"{f.stage}: {f.reason}" for one in found.values() for f in one.failures]
        samples, records = [], []
        for reading in self.readings:
            features = found[reading.settings]
            misfits = {
                "text_state": _misfit(features, reading.inputs),
                "speech_state": _too_long(features, reading.inputs),
            }
            for state, reason in misfits.items():
                if reason:
                    failures.append(reason)
                    record = features.record._replace(**{state: "failed"})
                    features = features._replace(record=record)
            samples.append(self._views(index, features, reading.inputs))
            records.append(features.record)
        reads_text = [r for r, x in zip(records, self.readings, strict=True) if x.inputs.text]
        fitting = [record for record in reads_text if record.text_state == "ok"]
        record = [*fitting, *reads_text, *records][0]
        return Prepared(index, record, samples, list(dict.fromkeys(failures)))

    def _views(self, index: int, features: Features, inputs: Inputs) -> list[Sample]:
        if not inputs.usable(features.record):
            return []
        views = views_of(features.sample(inputs, ""), self.n_views, inputs.speech_frames)
        return [view._replace(id=f"{index}.{number}") for number, view in enumerate(views)]


def load(
    reader: ItemReader, batch_size: int, num_workers: int, clip_timeout: float = 0.0
) -> Iterator[list[Prepared]]:
    """Lists of ``Prepared``, in the order of the items.

    Where there are workers, a media file that kills its decoder, or takes longer than
    ``clip_timeout`` seconds, costs itself. Without workers there is nobody to watch over the files.
    """
    if not num_workers:
        prepared: Iterator[Prepared] = (reader[index] for index in range(len(reader)))
    else:
        size = min(num_workers, len(reader))
        watched = in_order(range(len(reader)), size, crew_of(reader, _read, clip_timeout), AHEAD)
        prepared = (reader.unread(*one) if isinstance(one, Lost) else one for one in watched)
    while batch := list(islice(prepared, batch_size)):
        yield batch


def crew_of(
    reader: ItemReader, work: Callable[[int], Any], timeout: float, threads: int = 1
) -> Crew:
    """Processes that ``work`` on the items of ``reader_here`` by number."""
    return Crew(_start_reader, (reader, threads), work, timeout)


def reader_here() -> ItemReader:
    """The reader of this process, which is one of a crew."""
    return _here["reader"]


_here: dict[str, ItemReader] = {}


def _start_reader(_: int, reader: ItemReader, threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(0)
    _here["reader"] = reader


def _read(index: int) -> Prepared:
    return reader_here()[index]


def _misfit(features: Features, inputs: Inputs) -> str:
    """Why the words of a clip are none for this model, or nothing."""
    if not inputs.text or features.record.text_state != "ok":
        return ""
    width = features.store.read_text(features.split, features.record.id).shape[1]
    if width == inputs.text_dim:
        return ""
    return f"text: its words have {width} numbers each, the model reads {inputs.text_dim}"


def _too_long(features: Features, inputs: Inputs) -> str:
    """Why the speech of a clip is more than a network can hold, or nothing."""
    if not inputs.speech or features.record.frames <= MOST_FRAMES:
        return ""
    return (
        f"speech: lasts {features.record.frames * FRAME_SECONDS:.0f} s, more than "
        f"{MOST_FRAMES * FRAME_SECONDS:.0f}; give --timeline True"
    )
