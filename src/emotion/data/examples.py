"""Which clips a run trains on, validates on and tests on."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from emotion import distributed
from emotion.data.folds import Folds, fold_count, fold_of_records
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.records import Record
from emotion.telling import note

TARGETS = ("integrated", "face", "speech")


class Source(NamedTuple):
    """Another corpus than the one that a run is about: ``--also_train``."""

    store: FeatureStore
    corpus: str
    people: str  # whose speakers they are: before their names, nothing where it is the run's own


class Example(NamedTuple):
    """A clip with its class indices, -1 where unlabelled."""

    split: str
    record: Record
    integrated: int
    face: int
    speech: int
    source: Source | None = None  # of a clip of another corpus

    @property
    def place(self) -> str:
        """``split/stem``, after its people's name where they are of another corpus."""
        return named(self.source.people if self.source else "", f"{self.split}/{self.record.stem}")

    @property
    def person(self) -> str:
        """Its speaker, whom nobody takes for one of another corpus; empty where unknown."""
        return named(self.source.people if self.source else "", self.record.speaker)


def named(people: str, name: str) -> str:
    """A speaker or clip of some people; no name of a speaker or file has two slashes in it."""
    return f"{people}//{name}" if people and name else name


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
    *,
    dropped: Collection[str] = (),
) -> Parts:
    """The labelled clips of each part that have the features a mode reads.

    Args:
        store: the features.
        class_names: in index order.
        usable: whether a clip has what the mode reads.
        needed: what that is, for the error.
        folds: for a corpus without official splits.
        dropped: classes whose clips are left out.

    Raises:
        UserError: a part has no clips, or none labelled, or none usable; or the folds do not fit.
    """
    splits = store.splits()
    if "all" in splits:
        return _folded_parts(store, class_names, usable, needed, folds, dropped=dropped)
    if folds is not None:
        raise UserError(
            f"{store.root}: has the official splits {' '.join(splits)}; leave out --n_folds, --fold"
        )
    parts = {}
    for split in ("train", "val"):
        if split not in splits:
            raise UserError(f"{store.root / split}: no manifest.csv; run preprocess.py first")
        examples = load_examples(store, split, class_names, dropped)
        parts[split] = _check(examples, store.root / split, usable, needed)
    test = load_examples(store, "test", class_names, dropped) if "test" in splits else []
    return Parts(**parts, test=[e for e in test if e.integrated >= 0 and usable(e.record)])


def load_examples(
    store: FeatureStore, split: str, class_names: Sequence[str], dropped: Collection[str] = ()
) -> list[Example]:
    """All clips of a split, in manifest order; those of ``dropped`` classes without a label.

    Raises:
        UserError: a label of the manifest is not a class name.
    """
    index = {name: number for number, name in enumerate(class_names)}

    def label(record: Record, kind: str) -> int:
        name = getattr(record, kind)
        if name in dropped:
            return -1
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


def _folded_parts(
    store: FeatureStore,
    class_names: Sequence[str],
    usable: Callable[[Record], bool],
    needed: str,
    folds: Folds | None,
    *,
    dropped: Collection[str],
) -> Parts:
    if folds is None:
        raise UserError(
            f"{store.root}: this corpus has no official splits; give --n_folds N --fold K"
        )
    examples = load_examples(store, "all", class_names, dropped)
    # of all clips, so that a fold is the same whatever a mode can use
    fold_of = fold_of_records([e.record for e in examples], folds, dropped)
    examples = _check(examples, store.root / "all", usable, needed)
    kinds = {folds.fold: "test", folds.validating: "val"}
    parts: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    for example in examples:
        parts[kinds.get(fold_of[example.record.speaker], "train")].append(example)
    for name, part in parts.items():
        _check_classes(name, part, class_names, folds, examples)
    return Parts(**parts)


def _check_classes(
    name: str,
    part: list[Example],
    class_names: Sequence[str],
    folds: Folds,
    examples: list[Example],
) -> None:
    """What is never seen cannot be learnt; what is not there to be scored is left out of scores."""
    lacking = sorted(set(range(len(class_names))) - _classes(part))
    start = f"--fold {folds.fold}: "
    if not part:
        raise UserError(f"{start}its {name} part has no clips; use fewer folds, or others")
    told = ", ".join(class_names[k] + _short_of_speakers(k, examples, folds) for k in lacking)
    if lacking and name == "train":
        raise UserError(
            f"{start}its train part has no clip of class {told}; give --drop_classes "
            f"{' '.join(class_names[k] for k in lacking)}, or other folds"
        )
    if lacking and distributed.is_main():
        note(
            f"{start}no clip of {told} in its {name} part, which is scored over the classes that "
            "are there"
        )


def _short_of_speakers(label: int, examples: list[Example], folds: Folds) -> str:
    """Who has a class, where these are fewer than the folds."""
    names = sorted({e.record.speaker for e in examples if e.integrated == label})
    if len(names) >= fold_count(folds.n_folds):
        return ""
    return f" (which only speakers {' '.join(names)} have)" if names else " (which nobody has)"


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
