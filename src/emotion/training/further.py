"""Clips of further corpora in training: ``--also_train``, ``--class_map``, ``--corpus_share``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emotion import registry
from emotion.corpora.loading import people_of
from emotion.data.class_map import class_indices
from emotion.data.examples import Example, Parts, Source
from emotion.errors import UserError
from emotion.inputs.feature import agree
from emotion.inputs.store import FeatureStore
from emotion.recipe import Recipe
from emotion.records import Labels, Record
from emotion.telling import note
from emotion.training.options import TrainOptions


def with_further(
    options: TrainOptions,
    store: FeatureStore,
    class_names: Sequence[str],
    recipe: Recipe,
    parts: Parts,
) -> Parts:
    """The clips of a run, those of every corpus of ``--also_train`` added to its training.

    Raises:
        UserError: features that are not there or were made otherwise, a class without a name here,
            or a speaker or clip whom the run validates or tests on.
    """
    check_shares(options)
    added: list[Example] = []
    for given in options.also_train:
        further = FeatureStore(Path(given))
        if further.root.resolve() == store.root.resolve():
            raise UserError(f"--also_train {given}: is the folder of --features_dir; leave it out")
        description = _description(further)
        _check_settings(further, description, store, recipe)
        examples = _examples(options, further, description, store, class_names)
        usable = [e for e in examples if e.integrated >= 0 and recipe.usable(e.record)]
        if not usable:
            raise UserError(
                f"--also_train {given}: none of its {len(examples)} clips has a class of this run "
                f"and {recipe.mode} features of that kind"
            )
        _check_people(given, usable, parts)
        added += usable
    return parts._replace(train=parts.train + added)


def check_shares(options: TrainOptions) -> None:
    """Refuse shares that do not fit the corpora.

    Raises:
        UserError: there are more or fewer than corpora, or nothing is left of the run's own.
    """
    corpora, shares = len(options.also_train), options.corpus_share
    if not corpora and (shares or options.class_map):
        flag = "corpus_share" if shares else "class_map"
        raise UserError(f"--{flag} goes with --also_train; give both or neither")
    if shares and len(shares) not in (1, corpora):
        raise UserError(
            f"--corpus_share: has {len(shares)} numbers for {corpora} corpora of --also_train; "
            "give one for all of them or one for each"
        )
    if sum(shares) >= 1:
        raise UserError(
            f"--corpus_share: {sum(shares):g} of each batch leaves nothing of --features_dir; "
            "give less than 1 in all"
        )


def groups_of(
    examples: Sequence[Example], shares: Sequence[float]
) -> list[tuple[list[int], float]]:
    """Rows of the clips of each corpus, the run's own first, and its share of each batch."""
    rows: dict[Any, list[int]] = {}
    for row, example in enumerate(examples):
        rows.setdefault(example.source and example.source.store.root, []).append(row)
    own, *others = rows.pop(None), *rows.values()
    if len(shares) == 1:  # of all, by their clips
        total = sum(map(len, others))
        shares = [shares[0] * len(group) / total for group in others]
    return [(own, 1 - sum(shares)), *zip(others, shares, strict=True)]


def drawn(
    examples: Sequence[Example], shares: Sequence[float], count: int, seed: int
) -> np.ndarray:
    """Rows of some ``count`` clips, sorted, each corpus among them as often as in a batch.

    They are drawn: a stride through a sorted list can meet one speaker or one sex alone. Where a
    corpus is too small for its part of so many, they are fewer.
    """
    generator = np.random.default_rng((seed, len(examples)))
    if not shares:
        return np.sort(generator.permutation(len(examples))[:count])
    groups = [(rows, share) for rows, share in groups_of(examples, shares) if share]
    count = min(count, *(len(rows) / share for rows, share in groups))
    parts = [generator.permutation(r)[: max(1, round(share * count))] for r, share in groups]
    return np.sort(np.concatenate(parts))


def frequencies(examples: Sequence[Example], shares: Sequence[float]) -> np.ndarray | None:
    """How often training meets each clip, on average once; None where all alike."""
    if not shares:
        return None
    often = np.zeros(len(examples))
    for rows, share in groups_of(examples, shares):
        often[rows] = share * len(examples) / len(rows)
    return often


def _description(store: FeatureStore) -> dict[str, Any]:
    description = store.read_description()
    if description is None or not store.splits():
        raise UserError(
            f"--also_train {store.root}: holds no features; run preprocess.py into it first"
        )
    return description


def _check_settings(
    further: FeatureStore, description: dict[str, Any], store: FeatureStore, recipe: Recipe
) -> None:
    wanted = store.read_description()["settings"]
    copies = {c for part in recipe.parts for c in registry.copies_of(part.feature, wanted)}
    if lacking := sorted(copies - {*description["settings"]}):
        note(f"--also_train {further.root}: has no {' '.join(lacking)}, so is trained on without")
    for part in recipe.parts:
        for name in registry.feature(part.feature).settings:
            found = description["settings"].get(name)
            if not agree(found, wanted.get(name)):
                raise UserError(
                    f"--also_train {further.root}: its features were made with {name} {found}, "
                    f"those of {store.root} with {wanted.get(name)}; make them with the same flags"
                )


def _examples(
    options: TrainOptions,
    further: FeatureStore,
    description: dict[str, Any],
    store: FeatureStore,
    class_names: Sequence[str],
) -> list[Example]:
    """All clips of a further corpus, its classes by their names here. Where voice or face have no
    label of their own, the integrated one stands for them.
    """
    own = store.read_description()["corpus"]
    people = people_of(description["corpus"])
    source = Source(further, description["corpus"], "" if people == people_of(own) else people)
    place = f"--also_train {further.root}"
    index = class_indices(options.class_map, description["class_names"], class_names, place)

    def example(split: str, record: Record) -> Example:
        label = {kind: index.get(getattr(record, kind), -1) for kind in Labels._fields}
        for kind in ("face", "speech"):
            if not getattr(record, kind):
                label[kind] = label["integrated"]
        return Example(split, record, **label, source=source)

    return [example(split, r) for split in further.splits() for r in further.read_manifest(split)]


def _check_people(given: str, examples: Sequence[Example], parts: Parts) -> None:
    """Nobody is trained on whom the run validates or tests on."""
    judged = {e.person for e in parts.val + parts.test} - {""}
    clips = {e.place for e in parts.train + parts.val + parts.test}
    for example in examples:
        if example.person in judged:
            raise UserError(
                f"--also_train {given}: its speaker {example.person} is one whom this run "
                "validates or tests on; leave that speaker's clips out of it, or rename the "
                "speaker where it is somebody else"
            )
        if example.place in clips:
            raise UserError(
                f"--also_train {given}: its clip {example.record.stem} is in --features_dir too; "
                "leave it out"
            )
