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


class SharedBatches(TrainBatches):
    """As ``TrainBatches``, but each group of clips has a fixed share of every batch.

    An epoch is one pass over the first group. The others are gone through in random order, again
    where they are shorter, in part where they are longer; the next epoch draws anew.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[int], float]],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """``groups``: rows and share of each; the shares add up to 1."""
        super().__init__(len(groups[0][0]), batch_size, seed, rank, world_size)
        self.rows, self.shares = zip(*((np.asarray(r), s) for r, s in groups if s), strict=True)
        self.clips = _whole(self.shares, batch_size * world_size)

    @property
    def uneven(self) -> str:
        """Where clips are whole and a share is not what was asked for, by a fifth or more: both."""
        got = [clips / sum(self.clips) for clips in self.clips]
        pairs = list(zip(self.shares, got, strict=True))
        if all(abs(share - real) < share / 5 for share, real in pairs):
            return ""
        told = ", ".join(f"{real:.1%} and not {share:.1%}" for share, real in pairs)
        return f"of a batch of {sum(self.clips)} clips the corpora have {told}"

    def __len__(self) -> int:
        return max(1, self.count // self.clips[0])

    def __iter__(self) -> Iterator[list[Key]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        drawn = [
            _passes(rows, clips * len(self), generator).reshape(len(self), clips)
            for rows, clips in zip(self.rows, self.clips, strict=True)
        ]
        for batch in np.concatenate(drawn, axis=1):
            mine = np.array_split(generator.permutation(batch), self.world_size)[self.rank]
            yield [(self.epoch, int(index)) for index in mine]


def _whole(shares: Sequence[float], total: int) -> list[int]:
    """Clips of each group in a batch: at least one, and ``total`` together, if it has so many."""
    clips = [max(1, round(share * total)) for share in shares[1:]]
    return [max(1, total - sum(clips)), *clips]


def _passes(rows: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """``count`` of some rows: all of them in random order, again and again."""
    passes = -(-count // len(rows))
    return np.concatenate([generator.permutation(rows) for _ in range(passes)])[:count]


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
