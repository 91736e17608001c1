"""Folds that hold every class wherever such folds exist."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion.data.balance import balanced
from emotion.data.folds import Folds, assign_folds

N_FOLDS = 3
TABLES = st.tuples(st.integers(3, 7), st.integers(1, 4)).flatmap(
    lambda size: st.lists(
        st.lists(st.sampled_from([0, 0, 1, 5]), min_size=size[1], max_size=size[1]),
        min_size=size[0],
        max_size=size[0],
    )
)


def missing(counts, fold):
    """How many pairs of fold and cell have nothing."""
    return sum(int((counts[fold == k].sum(axis=0) == 0).sum()) for k in range(N_FOLDS))


@settings(max_examples=40, deadline=None)
@given(TABLES)
def test_a_feasible_split_is_found_wherever_exhaustive_search_finds_one(table):
    """40 random small tables of speakers and classes."""
    cells = np.array(table)
    counts = np.column_stack([1 + cells.sum(axis=1), cells])
    every = (np.array(f) for f in product(range(N_FOLDS), repeat=len(counts)))
    least = min(missing(counts, fold) for fold in every if len(set(fold)) == N_FOLDS)
    found = balanced(counts, N_FOLDS)
    assert set(found) == set(range(N_FOLDS))
    if least == 0:
        assert missing(counts, found) == 0


def test_a_class_of_few_speakers_is_spread_where_sizes_alone_would_not():
    """Six speakers, two of them with the rare class: as many clips each, so that only the classes
    tell which folds are good.
    """
    speakers, cells = [], []
    for number in range(6):
        has = ["rare", "often"] if number < 3 else ["often"]
        for clip in range(6):
            speakers.append(f"{number:02d}")
            cells.append([has[clip % len(has)]])
    fold = assign_folds(speakers, Folds(3, 1), cells)
    assert {fold["00"], fold["01"], fold["02"]} == {1, 2, 3}
    sizes = np.bincount(list(fold.values()))[1:]
    assert sizes.tolist() == [2, 2, 2]


def test_one_speaker_a_fold_is_leaving_one_out():
    fold = balanced(np.ones((9, 3), int), 9)
    assert sorted(fold) == list(range(9))


def test_a_hundred_speakers_are_even_and_always_alike():
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 12, (100, 8))
    counts = np.column_stack([cells.sum(axis=1), cells])
    fold = balanced(counts, 5)
    sums = np.stack([counts[fold == k].sum(axis=0) for k in range(5)])
    assert (sums.max(axis=0) / sums.min(axis=0)).max() < 1.1
    assert np.array_equal(fold, balanced(counts, 5))
