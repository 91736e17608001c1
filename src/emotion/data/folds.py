"""Folds of a corpus without official splits: no speaker is in two, and each holds every class."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion import registry
from emotion.data.balance import balanced
from emotion.errors import UserError
from emotion.files import read_json
from emotion.inputs.store import FeatureStore
from emotion.records import Record


@dataclass(frozen=True)
class Folds:
    """Speaker-disjoint folds: ``--n_folds``, ``--fold`` (counted from 1) and ``--valid_fold``."""

    n_folds: int | str  # how many, or the file that lists them
    fold: int  # that is tested
    valid_fold: int = 1  # that validates, counted on from the tested one

    @property
    def validating(self) -> int:
        """Number of the fold that validates, from 1."""
        return (self.fold + self.valid_fold - 1) % fold_count(self.n_folds) + 1


def fold_count(n_folds: int | str) -> int:
    """How many folds there are, by number or in the file that lists them.

    Raises:
        UserError: the file is missing or damaged, or names a speaker twice.
    """
    return n_folds if isinstance(n_folds, int) else len(_read_folds(n_folds))


def fold_of_records(
    records: Sequence[Record], folds: Folds, dropped: Collection[str] = ()
) -> dict[str, int]:
    """Fold (from 1) of every speaker, whatever a mode can use of the clips.

    Args:
        records: all clips of the corpus.
        folds: how many, or the file that lists them.
        dropped: classes whose clips nobody uses.

    Raises:
        UserError: as ``assign_folds``.
    """
    cells = [cells_of(record) if record.integrated not in dropped else () for record in records]
    return assign_folds([record.speaker for record in records], folds, cells)


def cells_of(record: Record) -> tuple[tuple[str, str], ...]:
    """What a clip counts for: its class, and its class among the clips that have a modality."""
    if not record.integrated:
        return ()
    there = [name for name, state in record.states.items() if state == "ok"]
    known = registry.feature_names(there)
    has = {registry.feature_line(name).modality for name in there if name in known}
    return ((record.integrated, ""), *((record.integrated, name) for name in sorted(has)))


def assign_folds(
    speakers: Sequence[str], folds: Folds, cells: Sequence[Collection[Any]] = ()
) -> dict[str, int]:
    """Fold (from 1) of every speaker: from the file, or such that every fold has every class.

    Args:
        speakers: whose each clip is.
        folds: how many, or the file that lists them.
        cells: what each clip counts for, such as its class; each is spread over the folds.

    Raises:
        UserError: no speakers are known, too few for the folds, or the file does not name them all.
    """
    names = sorted(set(speakers) - {""})
    if not names or "" in speakers:
        raise UserError("the corpus names no speaker for some clips; folds need one for each")
    if isinstance(folds.n_folds, str):
        return _listed(names, folds.n_folds)
    if len(names) < folds.n_folds:
        raise UserError(f"--n_folds {folds.n_folds}: the corpus has only {len(names)} speakers")
    counts = _count(names, speakers, cells or [()] * len(speakers))
    fold = balanced(counts, folds.n_folds)
    return {name: int(number) + 1 for name, number in zip(names, fold, strict=True)}


def speakers_by_fold(
    store: FeatureStore, folds: Folds, dropped: Collection[str] = ()
) -> list[list[str]]:
    """Who is in which fold, as a file for ``--n_folds`` says it."""
    assigned = fold_of_records(store.read_manifest("all"), folds, dropped)
    numbers = range(1, fold_count(folds.n_folds) + 1)
    return [sorted(name for name, k in assigned.items() if k == number) for number in numbers]


def _count(
    names: Sequence[str], speakers: Sequence[str], cells: Sequence[Collection[Any]]
) -> np.ndarray:
    """(speakers, 1 + cells) clips of each speaker: all of them, then of each cell."""
    columns = {
        cell: number for number, cell in enumerate(sorted({c for own in cells for c in own}))
    }
    rows = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), 1 + len(columns)), np.int64)
    for speaker, own in zip(speakers, cells, strict=True):
        counts[rows[speaker], [0, *(1 + columns[cell] for cell in own)]] += 1
    return counts


def _listed(names: Sequence[str], path: str) -> dict[str, int]:
    groups = _read_folds(path)
    assigned = {name: k for k, group in enumerate(groups, 1) for name in group}
    missing = [name for name in names if name not in assigned]
    if missing:
        raise UserError(f"{path}: names no fold for speaker {missing[0]}; add it")
    return {name: assigned[name] for name in names}


def _read_folds(path: str) -> list[list[str]]:
    """The speakers of each fold, from ``{"folds": [["01", ...], ...]}`` or the list alone."""
    mend = 'give a number, or JSON like {"folds": [["01", "02"], ["03"]]}'
    lists = read_json(Path(path), mend, _parse_lists, "--n_folds")
    names = [name for names in lists for name in names]
    if len(set(names)) != len(names):
        raise UserError(f"--n_folds {path}: names a speaker in two folds; folds must be disjoint")
    return lists


def _parse_lists(content: Any) -> list[list[str]]:
    lists = content["folds"] if isinstance(content, dict) else content
    if not isinstance(lists, list) or not all(isinstance(names, list) for names in lists):
        raise TypeError("a fold is a list of speakers")
    return [[str(name) for name in names] for names in lists]
