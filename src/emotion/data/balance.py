"""Groups shared out among folds, so that every fold has of everything, and about as much.

A speaker goes to one fold whole. A greedy start is improved by moves and exchanges; where a fold
still lacks something, a mixed-integer program says whether that has to be (HiGHS, by scipy), so
that a split in which every fold has everything is found wherever there is one.
"""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

ENOUGH = 3  # folds with something of a kind: one to test, one to validate, one to train
NODES = 20_000  # of the search tree: what is found until then is taken
MOST_EXCHANGED = 150  # groups: of more, only moves are tried
SWEEPS = 50
LEAST = 1e-9  # gain, so that no sum goes round in circles


def balanced(counts: np.ndarray, n_folds: int) -> np.ndarray:
    """A fold from 0 for every group, the same in every run.

    Args:
        counts: (groups, cells) how much of each cell a group has, all of it together being one.
        n_folds: not more than there are groups.

    Returns:
        (groups,) int.
    """
    counts = np.unique(counts, axis=1) if counts.shape[1] > 1 else counts
    counts = counts[:, counts.any(axis=0)].astype(float)
    search = _Search(counts, n_folds)
    fold = search.improve(search.greedy())
    if search.covered(fold) < search.most:
        better = _most_covered(counts > 0, n_folds, search.possible)
        if better is not None and search.covered(better) > search.covered(fold):
            fold = search.improve(better)
    return _numbered(fold)


class _Search:
    """Moves and exchanges of groups: first what folds cover, then how even they are."""

    def __init__(self, counts: np.ndarray, n_folds: int) -> None:
        self.counts = counts  # (groups, cells)
        self.n_folds = n_folds
        self.mean = counts.sum(axis=0) / n_folds
        self.possible = np.minimum((counts > 0).sum(axis=0), n_folds)  # folds a cell can be in
        self.most = worth(self.possible, self.possible).sum()

    def sums(self, fold: np.ndarray) -> np.ndarray:
        """(folds, cells)."""
        return np.stack([self.counts[fold == k].sum(axis=0) for k in range(self.n_folds)])

    def covered(self, fold: np.ndarray) -> float:
        """What it is worth that cells are in so many folds."""
        folds = (self.sums(fold) > 0).sum(axis=0)
        return float(worth(folds, self.possible).sum())

    def greedy(self) -> np.ndarray:
        """The largest group first, each to the fold that it leaves most even."""
        sums = np.zeros((self.n_folds, self.counts.shape[1]))
        fold = np.zeros(len(self.counts), int)
        for group in np.argsort(-self.counts.sum(axis=1), kind="stable"):
            added = sums + self.counts[group]
            change = (self._unevenness(added) - self._unevenness(sums)).sum(axis=1)
            fold[group] = change.argmin()
            sums[fold[group]] += self.counts[group]
        return fold

    def improve(self, fold: np.ndarray) -> np.ndarray:
        """Until no move or exchange is better."""
        fold = fold.copy()
        sums = self.sums(fold)
        for _ in range(SWEEPS):
            if not self._sweep(fold, sums):
                break
        return fold

    def _sweep(self, fold: np.ndarray, sums: np.ndarray) -> bool:
        """Give each group its best move or exchange; whether any was better than staying."""
        moved = False
        for group in range(len(fold)):
            to, other = self._partners(group, fold)
            back = np.where(other[:, None] >= 0, self.counts[other], 0.0)
            gone = sums[fold[group]] - self.counts[group] + back
            come = sums[to] + self.counts[group] - back
            covered, even = self._gain(sums, fold[group], to, gone, come)
            best = np.lexsort((even, covered))[-1]
            if covered[best] > 0 or (covered[best] == 0 and even[best] > LEAST):
                sums[fold[group]], sums[to[best]] = gone[best], come[best]
                if other[best] >= 0:
                    fold[other[best]] = fold[group]
                fold[group] = to[best]
                moved = True
        return moved

    def _partners(self, group: int, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(candidates,) folds to go to, and groups that come back or -1."""
        moves = np.flatnonzero(np.arange(self.n_folds) != fold[group])
        others = np.flatnonzero(fold != fold[group])[: 0 if len(fold) > MOST_EXCHANGED else None]
        none = np.full(len(moves), -1)
        return np.concatenate([moves, fold[others]]), np.concatenate([none, others])

    def _gain(
        self, sums: np.ndarray, at: int, to: np.ndarray, gone: np.ndarray, come: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(candidates,) twice: what folds cover more, and how much more even they are, where
        ``gone`` (candidates, cells) stands in place of fold ``at`` and ``come`` of folds ``to``.
        """
        before = (sums > 0).sum(axis=0)
        after = before - (sums[at] > 0) - (sums[to] > 0) + (gone > 0) + (come > 0)
        uneven = self._unevenness
        old, new = uneven(sums[at]) + uneven(sums[to]), uneven(gone) + uneven(come)
        covered = (worth(after, self.possible) - worth(before, self.possible)).sum(axis=1)
        return covered, (old - new).sum(axis=1)

    def _unevenness(self, sums: np.ndarray) -> np.ndarray:
        return np.square(sums / self.mean - 1)


def worth(folds: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Of cells that are in so many folds: those that can be in all of them come first, and of each
    the first three folds.
    """
    everywhere = np.where(possible == possible.max(), 100.0, 1.0)
    return everywhere * (folds + 10.0 * np.minimum(folds, ENOUGH))


def _most_covered(has: np.ndarray, n_folds: int, possible: np.ndarray) -> np.ndarray | None:
    """The split whose folds cover most, by a mixed-integer program; None where none was found.

    Variables: x (groups, folds), whether a group is in a fold; z (cells, folds), whether a fold has
    some of a cell, at most what its groups bring; t (cells,), how many of these there are, up to
    three.
    """
    groups, cells = has.shape
    x = np.arange(groups * n_folds).reshape(groups, n_folds)
    z = x.size + np.arange(cells * n_folds).reshape(cells, n_folds)
    t = x.size + z.size + np.arange(cells)
    rows: list[tuple[dict[int, float], float, float]] = []  # coefficients, lowest, highest
    rows += [(dict.fromkeys(own.tolist(), 1.0), 1.0, 1.0) for own in x]
    for cell in range(cells):
        for k in range(n_folds):
            brought = dict.fromkeys(x[has[:, cell], k].tolist(), 1.0)
            rows.append((brought | {int(z[cell, k]): -1.0}, 0.0, np.inf))
        rows.append((dict.fromkeys(z[cell].tolist(), 1.0) | {int(t[cell]): -1.0}, 0.0, np.inf))
    everywhere = np.where(possible == possible.max(), 100.0, 1.0)
    gain = np.zeros(x.size + z.size + t.size)
    gain[z] = everywhere[:, None]
    gain[t] = 10.0 * everywhere
    lower, upper = np.zeros_like(gain), np.ones_like(gain)
    upper[t] = ENOUGH
    lower[x[0, 0]] = 1.0  # folds have no order: the first group is in the first
    found = milp(
        -gain,
        constraints=LinearConstraint(*_matrix(rows, len(gain))),
        integrality=np.concatenate([np.ones(x.size + z.size), np.zeros(t.size)]),
        bounds=Bounds(lower, upper),
        options={"node_limit": NODES},
    )
    return None if found.x is None else found.x[x].argmax(axis=1)


def _matrix(
    rows: list[tuple[dict[int, float], float, float]], width: int
) -> tuple[coo_array, list[float], list[float]]:
    row = [number for number, (own, _, _) in enumerate(rows) for _ in own]
    column = [name for own, _, _ in rows for name in own]
    value = [v for own, _, _ in rows for v in own.values()]
    matrix = coo_array((value, (row, column)), shape=(len(rows), width)).tocsr()
    return matrix, [low for _, low, _ in rows], [high for _, _, high in rows]


def _numbered(fold: np.ndarray) -> np.ndarray:
    """Folds numbered in the order of their first groups."""
    _, first, inverse = np.unique(fold, return_index=True, return_inverse=True)
    rank = np.empty(len(first), int)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
