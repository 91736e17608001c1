"""Which clips form which batch. Keys are ``(epoch, index)``: see ``FeatureDataset``."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int]


class TrainBatches(Sampler[list[Key]]):
    """Shuffled batches of this rank; set ``epoch`` before each pass.

    ``batch_size`` is per rank: two ranks step on twice the clips. The order is a function of (seed,
    epoch) alone. A last incomplete batch is left out, unless it is the only one: then the ranks
    share it, clips repeated where they are fewer than the ranks.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def __len__(self) -> int:
        return max(1, self.count // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[Key]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(self.count)
        step = self.batch_size * self.world_size
        if self.count < step:
            order = np.resize(order, max(self.count, self.world_size))
        for batch in np.split(order[: len(self) * step], range(step, len(self) * step, step)):
            mine = np.array_split(batch, self.world_size)[self.rank]
            yield [(self.epoch, int(index)) for index in mine]


class EvalBatches(Sampler[list[Key]]):
    """Batches of clips of equal padded length, in a fixed order, dealt out to the ranks in turn."""

    def __init__(
        self, lengths: Sequence[int], batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        order = np.argsort(np.asarray(lengths), kind="stable")
        cuts = np.flatnonzero(np.diff(np.asarray(lengths)[order])) + 1
        batches = [
            group[first : first + batch_size]
            for group in np.split(order, cuts)
            for first in range(0, len(group), batch_size)
        ]
        self.batches = batches[rank::world_size]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.batches:
            yield [(0, int(index)) for index in batch]
