"""Items to samples: the code of preprocess.py and train.py, on one clip after another."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from torch.utils.data import Dataset

from emotion import registry
from emotion.data.samples import Sample, read_sample, readers_of
from emotion.errors import UserError, first_line
from emotion.inputs.extraction import Extractor
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.prediction.fitting import fitted
from emotion.prediction.inputs import Item
from emotion.prediction.members import Member
from emotion.prediction.views import views_of
from emotion.recipe import Recipe
from emotion.records import ClipFeatures, Record
from emotion.workers import Crew, Lost, in_order

AHEAD = 64  # items that may be read before an earlier one is


class Reading(NamedTuple):
    """What a model reads of a clip; models that read alike share it."""

    settings: str  # JSON: what the features are made with
    recipe: Recipe  # without the networks

    @classmethod
    def of(cls, member: Member) -> "Reading":
        """What one model reads."""
        parts = tuple(replace(p, encoder="", network=None) for p in member.recipe.parts)
        recipe = Recipe(member.mode, 0, parts)
        return cls(json.dumps(member.settings, sort_keys=True), recipe)

    @property
    def features(self) -> list[str]:
        """Names of what is read."""
        return [part.feature for part in self.recipe.parts]


class Prepared(NamedTuple):
    """One item, read."""

    index: int
    record: Record | None  # None where nothing could be read at all
    samples: list[list[Sample]]  # a list of views a reading; empty where it has nothing to read
    failures: list[str]  # one line each


Features = Callable[[int, Reading], tuple[ClipFeatures, list[str]]]  # and what was wrong


class ItemReader(Dataset):
    """Items by number, read for every ``Reading``; a bad one is never an exception.

    Args:
        items: files and clips of features.
        readings: of the models.
        options: the flags of predict.py, some of which are features' own.
        n_views: of each clip.
        blocked: features that cannot be made here.
    """

    def __init__(
        self,
        items: Sequence[Item],
        readings: Sequence[Reading],
        options: Any = None,
        n_views: int = 1,
        blocked: Sequence[str] = (),
    ) -> None:
        self.items = list(items)
        self.readings = readings
        self.options = options
        self.n_views = n_views
        self.blocked = blocked
        stores = {item.store.root: item.store for item in items if item.store is not None}
        enrolment = getattr(options, "features_dir", "")  # of the speakers of media files
        if enrolment and any(item.store is None for item in items):
            stores[None] = FeatureStore(Path(enrolment))
        self.readers = {
            (root, reading): readers_of(reading.recipe, stores.get(root))
            for root in {*stores, None}
            for reading in readings
        }

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Prepared:
        """Read one item."""
        return self.prepared(index, self.features)

    def prepared(self, index: int, features: Features) -> Prepared:
        """One item of which ``features`` says what a reading reads; a bad one is no exception."""
        try:
            return self._prepare(index, features)
        except UserError as error:
            reason = str(error)
        except Exception as error:  # whatever a file does to a decoder, the others get their answer
            reason = f"{type(error).__name__}: {first_line(error)}"
        return self.unread(index, reason)

    def unread(self, index: int, reason: str) -> Prepared:
        """An item of which nothing could be read."""
        return Prepared(index, None, [[] for _ in self.readings], [reason])

    def features(self, index: int, reading: Reading) -> tuple[ClipFeatures, list[str]]:
        """The features of one item, stored or extracted now, and what was wrong with it.

        Raises:
            UserError: a file is missing or damaged.
        """
        item = self.items[index]
        if item.store is not None:
            return StoredClip(item.store, item.clip.split, item.record), []
        found = self.extractors[reading.settings].extract(item.clip)
        return found.clip(item.clip), [f"{stage}: {reason}" for stage, reason in found.failures]

    @cached_property
    def extractors(self) -> dict[str, Extractor]:
        """By settings; made in the process that works with them."""
        wanted: dict[str, list[str]] = {}
        for reading in self.readings:
            names = list(reading.features)
            if self.n_views > 1:
                known = json.loads(reading.settings)
                copies = [copy for name in names for copy in registry.copies_of(name, known)]
                names += views_among(copies)
            wanted.setdefault(reading.settings, []).extend(names)
        return {
            settings: Extractor(
                json.loads(settings), self.options, features=features, blocked=self.blocked
            )
            for settings, features in wanted.items()
        }

    def _prepare(self, index: int, features: Features) -> Prepared:
        found: dict[str, tuple[ClipFeatures, list[str]]] = {}
        failures, samples, records = [], [], []
        for reading in self.readings:
            if reading.settings not in found:
                found[reading.settings] = features(index, reading)
                failures += found[reading.settings][1]
            clip, wrong = fitted(found[reading.settings][0], reading.recipe)
            failures += wrong
            samples.append(self._views(index, clip, reading))
            records.append(clip.record)
        return Prepared(index, _joined(records), samples, list(dict.fromkeys(failures)))

    def _views(self, index: int, clip: ClipFeatures, reading: Reading) -> list[Sample]:
        if not reading.recipe.usable(clip.record):
            return []
        views = views_of(self.sample(index, clip, reading), reading.recipe, self.n_views)
        for version in self._versions(clip.record.states, reading)[: self.n_views - len(views)]:
            views.append(self.sample(index, clip._replace(version=version), reading))
        return [view._replace(id=f"{index}.{number}") for number, view in enumerate(views)]

    def _versions(self, known: Iterable[str], reading: Reading) -> list[str]:
        """What the copies that are views of a clip are called, such as @0.9."""
        names = {n: views_among(registry.copies_of(n, known)) for n in reading.features}
        found = (copy.removeprefix(name) for name, copies in names.items() for copy in copies)
        return list(dict.fromkeys(found))

    def sample(self, index: int, clip: ClipFeatures, reading: Reading) -> Sample:
        """The arrays that a model reads.

        Raises:
            UserError: a file is missing or damaged.
        """
        store = self.items[index].store
        return read_sample(clip, self.readers[store.root if store else None, reading])


def views_among(copies: Sequence[str]) -> list[str]:
    """The copies of features that are as good as the clip itself."""
    return [copy for copy in copies if registry.feature(copy).is_view]


def _joined(records: Sequence[Record]) -> Record:
    """One record whose states are ok where any is."""
    states: dict[str, str] = {}
    for record in records:
        for name, state in record.states.items():
            if states.setdefault(name, state) != "ok":
                states[name] = state
    return records[0]._replace(states=states)


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
    _ = reader.extractors  # which imports what they need, before the first clip's time runs


def _read(index: int) -> Prepared:
    return reader_here()[index]
