"""Features to batches of tensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from emotion import registry
from emotion.clock import whole_steps
from emotion.data.examples import TARGETS, Example
from emotion.data.faults import Ledger
from emotion.data.samples import Readers, Sample, clock_of, pad, read_sample, readers_of
from emotion.inputs.memory import Memory
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.recipe import Recipe
from emotion.records import Batch, Clock, Record, Stream

CorporaReaders = dict[Path | None, Readers]  # by folder; None: of the run's own corpus


class Labelled(NamedTuple):
    """A batch with its labels and the clips' names, which stay on the host."""

    inputs: Batch
    targets: Tensor  # (B, 3) int64: integrated, face, speech; -1 unlabelled
    ids: list[str]


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
        memory: Memory | None = None,
    ) -> None:
        self.memory = memory
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
        clip = StoredClip(store, example.split, example.record, memory=self.memory)
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
    """Clips as one batch, see ``pad``."""
    streams = {name: Stream(*map(torch.from_numpy, own)) for name, own in pad(samples).items()}
    clock = Clock(*map(torch.from_numpy, clock_of(samples)))
    targets = torch.tensor([sample.targets for sample in samples])
    return Labelled(Batch(streams, clock), targets, [sample.id for sample in samples])
