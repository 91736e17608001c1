"""Which clips a run trains on, validates on and tests on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import GroupKFold

from emotion import distributed
from emotion.errors import UserError
from emotion.files import read_json
from emotion.inputs.store import FeatureStore
from emotion.records import Record
from emotion.telling import note

TARGETS = ("integrated", "face", "speech")


class Example(NamedTuple):
    """A clip with its class indices, -1 where unlabelled."""

    split: str
    record: Record
    integrated: int
    face: int
    speech: int


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


class Parts(NamedTuple):
    """The clips of one run; ``test`` only where it is labelled."""

    train: list[Example]
    val: list[Example]
    test: list[Example]


def load_parts(
    store: FeatureStore,
    class_names: Sequence[str],
    usable: Callable[[Record], bool],
    needed: str,
    folds: Folds | None,
) -> Parts:
    """The labelled clips of each part that have the features a mode reads.

    Args:
        store: the features.
        class_names: in index order.
        usable: whether a clip has what the mode reads.
        needed: what that is, for the error.
        folds: for a corpus without official splits.

    Raises:
        UserError: a part has no clips, or none labelled, or none usable; or the folds do not fit.
    """
    splits = store.splits()
    if "all" in splits:
        return _folded_parts(store, class_names, usable, needed, folds)
    if folds is not None:
        raise UserError(
            f"{store.root}: has the official splits {' '.join(splits)}; leave out --n_folds, --fold"
        )
    parts = {}
    for split in ("train", "val"):
        if split not in splits:
            raise UserError(f"{store.root / split}: no manifest.csv; run preprocess.py first")
        examples = load_examples(store, split, class_names)
        parts[split] = _check(examples, store.root / split, usable, needed)
    test = load_examples(store, "test", class_names) if "test" in splits else []
    return Parts(**parts, test=[e for e in test if e.integrated >= 0 and usable(e.record)])


def load_examples(store: FeatureStore, split: str, class_names: Sequence[str]) -> list[Example]:
    """All clips of a split, in manifest order.

    Raises:
        UserError: a label of the manifest is not a class name.
    """
    index = {name: number for number, name in enumerate(class_names)}

    def label(record: Record, kind: str) -> int:
        name = getattr(record, kind)
        if name and name not in index:
            raise UserError(
                f"{store.root / split / 'manifest.csv'}: {record.stem} has the {kind} label "
                f"{name!r}, not one of {' '.join(class_names)}; run preprocess.py again"
            )
        return index[name] if name else -1

    return [
        Example(split, record, *(label(record, kind) for kind in TARGETS))
        for record in store.read_manifest(split)
    ]


def assign_folds(speakers: Sequence[str], folds: Folds) -> dict[str, int]:
    """Fold (from 1) of every speaker: from the file, or balanced by number of clips.

    Raises:
        UserError: no speakers are known, too few for the folds, or the file does not name them all.
    """
    names = sorted(set(speakers) - {""})
    if not names or "" in speakers:
        raise UserError("the corpus names no speaker for some clips; folds need one for each")
    if isinstance(folds.n_folds, str):
        groups = _read_folds(folds.n_folds)
        assigned = {name: k for k, group in enumerate(groups, 1) for name in group}
        missing = [name for name in names if name not in assigned]
        if missing:
            raise UserError(f"{folds.n_folds}: names no fold for speaker {missing[0]}; add it")
        return {name: assigned[name] for name in names}
    if len(names) < folds.n_folds:
        raise UserError(f"--n_folds {folds.n_folds}: the corpus has only {len(names)} speakers")
    groups = np.asarray(speakers)
    split = GroupKFold(folds.n_folds).split(groups, groups=groups)
    return {name: k for k, (_, test) in enumerate(split, 1) for name in set(groups[test].tolist())}


def speakers_by_fold(store: FeatureStore, folds: Folds) -> list[list[str]]:
    """Who is in which fold, as a file for ``--n_folds`` says it."""
    assigned = assign_folds([record.speaker for record in store.read_manifest("all")], folds)
    numbers = range(1, fold_count(folds.n_folds) + 1)
    return [sorted(name for name, k in assigned.items() if k == number) for number in numbers]


def _folded_parts(
    store: FeatureStore,
    class_names: Sequence[str],
    usable: Callable[[Record], bool],
    needed: str,
    folds: Folds | None,
) -> Parts:
    if folds is None:
        raise UserError(
            f"{store.root}: this corpus has no official splits; give --n_folds N --fold K"
        )
    examples = load_examples(store, "all", class_names)
    # of all clips, so that a fold is the same whatever a mode can use
    fold_of = assign_folds([e.record.speaker for e in examples], folds)
    examples = _check(examples, store.root / "all", usable, needed)
    kinds = {folds.fold: "test", folds.validating: "val"}
    parts: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    for example in examples:
        parts[kinds.get(fold_of[example.record.speaker], "train")].append(example)
    for name, part in parts.items():
        _check_classes(name, part, class_names, folds)
    return Parts(**parts)


def _check_classes(
    name: str, part: list[Example], class_names: Sequence[str], folds: Folds
) -> None:
    """What is never seen cannot be learnt; what is not there to be scored is left out of scores."""
    lacking = [class_names[k] for k in sorted(set(range(len(class_names))) - _classes(part))]
    if not part or (lacking and name == "train"):
        raise UserError(
            f"--fold {folds.fold}: its {name} part has no clip of class {(*lacking, '')[0]}; use "
            "fewer folds, or others"
        )
    if lacking and distributed.is_main():
        note(
            f"--fold {folds.fold}: no clip of {' '.join(lacking)} in its {name} part, which is "
            "scored over the classes that are there"
        )


def _classes(part: list[Example]) -> set[int]:
    return {example.integrated for example in part}


def _check(
    examples: list[Example], folder: Path, usable: Callable[[Record], bool], needed: str
) -> list[Example]:
    if not examples:
        raise UserError(f"{folder}: holds no clips; run preprocess.py on a corpus that has some")
    labelled = [e for e in examples if e.integrated >= 0]
    if not labelled:
        raise UserError(f"{folder}: none of its {len(examples)} clips is labelled; add labels")
    kept = [e for e in labelled if usable(e.record)]
    if not kept:
        raise UserError(f"{folder}: none of its {len(labelled)} labelled clips has {needed}")
    return kept


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
