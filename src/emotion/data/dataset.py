"""Features to batches of tensors, padded and masked, on one clock."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from emotion import registry
from emotion.clock import STEP_SECONDS, whole_steps
from emotion.data.examples import TARGETS, Example
from emotion.data.faults import Ledger
from emotion.inputs.feature import Reader, Steps
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.recipe import Recipe
from emotion.records import Batch, ClipFeatures, Clock, Record, Stream

Readers = dict[str, Reader]  # by modality
CorporaReaders = dict[Path | None, Readers]  # by folder; None: of the run's own corpus


class Sample(NamedTuple):
    """One clip's arrays."""

    id: str
    targets: tuple[int, int, int]  # integrated, face, speech; -1 unlabelled
    steps: dict[str, Steps]  # by modality; times count from the start of what is read
    duration: float  # seconds of the clip that are read


class Labelled(NamedTuple):
    """A batch with its labels and the clips' names, which stay on the host."""

    inputs: Batch
    targets: Tensor  # (B, 3) int64: integrated, face, speech; -1 unlabelled
    ids: list[str]


def readers_of(recipe: Recipe, store: FeatureStore | None = None) -> Readers:
    """What reads each modality of a model; ``store`` where speakers are to be known.

    Raises:
        UserError: a clip of the store has no speaker, or a file is missing or damaged.
    """
    return {
        part.modality: registry.feature(part.feature).reader(part.reading, part.shape, store)
        for part in recipe.parts
    }


def readers_of_corpora(
    recipe: Recipe, store: FeatureStore, examples: Sequence[Example]
) -> CorporaReaders:
    """Readers for the run's own corpus and for each further one that clips are of.

    Raises:
        UserError: as ``readers_of``.
    """
    further = {e.source.store.root: e.source.store for e in examples if e.source}
    own: CorporaReaders = {None: readers_of(recipe, store)}
    return own | {root: readers_of(recipe, other) for root, other in further.items()}


def read_sample(
    clip: ClipFeatures,
    readers: Readers,
    generator: np.random.Generator | None = None,
    targets: tuple[int, int, int] = (-1, -1, -1),
    name: str = "",
) -> Sample:
    """Read one clip; with a ``generator`` it is cut and augmented.

    Raises:
        UserError: a file is missing or damaged.
    """
    record, window, steps = clip.record, None, {}
    for modality, reader in readers.items():
        window = window or reader.window(record, generator)
        steps[modality] = reader.steps(clip, window, generator)
    start, end = window or (0.0, max(record.duration, record.fact("end")))
    shifted = {k: s._replace(time=(s.time - start).astype(np.float32)) for k, s in steps.items()}
    return Sample(name or record.stem, targets, shifted, end - start)


class FeatureDataset(Dataset):
    """Clips by key ``(epoch, index)``: with ``training`` the sample's randomness is drawn from
    (seed, epoch, index), so that it does not depend on workers or order.
    """

    def __init__(
        self,
        store: FeatureStore,
        examples: Sequence[Example],
        recipe: Recipe,
        training: bool = False,
        *,
        seed: int = 0,
        ledger: Ledger | None = None,
        readers: CorporaReaders | None = None,
    ) -> None:
        self.ledger = ledger
        self.store = store
        self.examples = examples
        self.recipe = recipe
        self.by_corpus = readers or readers_of_corpora(recipe, store, examples)
        self.readers = self.by_corpus[None]
        self.training = training
        self.seed = seed

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Read and, in training, augment one clip.

        Raises:
            UserError: a file is missing or damaged.
        """
        epoch, index = key
        example = self.examples[index]
        if self.ledger:
            self.ledger.note(example.record.stem)
        generator = np.random.default_rng((self.seed, epoch, index)) if self.training else None
        store = example.source.store if example.source else self.store
        clip = StoredClip(store, example.split, example.record)
        targets = tuple(getattr(example, name) for name in TARGETS)
        return read_sample(clip, self.by_corpus[example.source and store.root], generator, targets)

    def length(self, index: int) -> int:
        """Width that a clip's spectrogram is run at in evaluation, 0 where none is read."""
        return run_width(self.recipe, self.examples[index].record)


def run_width(recipe: Recipe, record: Record) -> int:
    """Frames that a clip's spectrogram is run at, 0 where none is read: clips of one width are
    evaluated together.
    """
    widths = [
        whole_steps(max(int(record.fact("frames")), part.reading.speech_frames))
        for part in recipe.parts
        if part.kind == registry.SPECTROGRAM
    ]
    return max(widths, default=0)


def collate(samples: Sequence[Sample]) -> Labelled:
    """Pad the steps of each modality to the longest clip's, with zeros (a spectrogram's floor)."""
    streams = {
        name: Stream(
            _stack([_float(sample.steps[name].values) for sample in samples]),
            _stack([sample.steps[name].mask for sample in samples]),
            _stack([sample.steps[name].time for sample in samples]),
        )
        for name in samples[0].steps
    }
    targets = torch.tensor([sample.targets for sample in samples])
    batch = Batch(streams, clock_of(samples))
    return Labelled(batch, targets, [sample.id for sample in samples])


def clock_of(samples: Sequence[Sample]) -> Clock:
    """The steps of 0.512 s of each clip, one of which begins with its first stream."""
    laid = [_steps_of(sample) for sample in samples]
    longest = max(count for count, _ in laid)
    step = np.arange(longest, dtype=np.float32)
    count = np.array([count for count, _ in laid])[:, None]
    first = np.array([first for _, first in laid], np.float32)[:, None]
    time = first + (step + np.float32(0.5)) * np.float32(STEP_SECONDS)
    return Clock(torch.from_numpy(step < count), torch.from_numpy(time.astype(np.float32)))


def _steps_of(sample: Sample) -> tuple[int, float]:
    """How many steps a clip has, and when the first of them begins."""
    starts = (s.time[s.mask & ~np.isnan(s.time)] for s in sample.steps.values())
    start = next((float(times[0]) for times in starts if times.size), 0.0)
    before = int(np.ceil(start / STEP_SECONDS - 1e-3))
    after = int(np.ceil((sample.duration - start) / STEP_SECONDS - 1e-3))
    return before + max(after, 1), start - before * STEP_SECONDS


def _float(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def _stack(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays (n, ...) of unequal n to (B, longest, ...), zeros (False) after the end of each."""
    longest = max(1, *(len(array) for array in arrays))
    result = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(result, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(result)
