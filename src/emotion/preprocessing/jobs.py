"""Which clips have work left, and the work on one of them."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from emotion import registry
from emotion.errors import UserError
from emotion.files import LONGEST_NAME, refuse_links, remove_partial_files
from emotion.inputs.extraction import Extracted, Extractor
from emotion.inputs.store import Failure, FeatureStore, StoredClip
from emotion.preprocessing.journal import Known, Outcome
from emotion.records import Clip, Corpus, Record


class Job(NamedTuple):
    """One clip's work; ``previous`` is its record, ``only`` names the features that are missing,
    where others are there.
    """

    clip: Clip
    previous: Record | None = None
    only: tuple[str, ...] = ()


def find_jobs(
    store: FeatureStore, corpus: Corpus, known: Known, settings: dict[str, object]
) -> list[Job]:
    """The clips whose record is missing, failed, or names files that are not there; and those that
    lack a feature which can be made now.

    ``corpus`` is this process's share: what a killed run left half written of it is swept away,
    while other processes may be writing their files.
    """
    names = registry.feature_names(settings)
    _sweep(store, corpus, names)
    listing = _list_files(store, corpus, names)
    jobs = []
    for clip in corpus.clips:
        outcome = known.get((clip.split, clip.stem))
        if outcome is None:
            jobs.append(Job(clip))
            continue
        record = outcome.record
        broken = _broken(clip, record, names, listing)
        if broken and not record.duration:  # it could not be opened
            jobs.append(Job(clip, record))
        elif wanted := {*broken, *_lacking(clip, record, names, settings)}:
            jobs.append(Job(clip, record, tuple(name for name in names if name in wanted)))
    return jobs


def process(
    job: Job, store: FeatureStore, class_names: tuple[str, ...], extractor: Extractor
) -> Outcome:
    """Extract and store the features of one clip."""
    clip = job.clip
    if job.only and (added := _add(job, store, extractor)):
        return added
    if len(clip.stem.encode()) > LONGEST_NAME:
        reason = f"its name has more than {LONGEST_NAME} bytes; rename it"
        nothing = _nothing("name", reason, list(extractor.features))
        return _outcome(clip, nothing, class_names)
    found = extractor.extract(clip)
    _store(store, clip, found)
    outcome = _outcome(clip, found, class_names)
    return outcome._replace(record=_with_others(job, outcome.record, store, extractor))


def _with_others(job: Job, record: Record, store: FeatureStore, extractor: Extractor) -> Record:
    """With the features of before that nobody looked for in this run, or that are left to a stage
    of their own, as words are, unless what they are made of is new: their files are there.
    """
    states, facts, clip = dict(record.states), dict(record.facts), job.clip
    new = {name for name in job.only or extractor.features if record.state(name) == "ok"}
    for name, state in job.previous.states.items() if job.previous else ():
        feature = registry.feature(name)
        left = feature.staged and states.get(name) == "absent" and new.isdisjoint(feature.needs)
        passed = name not in extractor.features or left
        path = store.path(clip.split, name, clip.stem, clip.id)
        if passed and state in feature.kept and path.is_file():
            states[name] = state
            before = job.previous.facts
            facts |= {fact: before[fact] for fact in feature.facts if fact in before}
    return record._replace(states=states, facts=facts)


def lost(
    job: Job,
    reason: str,
    store: FeatureStore,
    class_names: tuple[str, ...],
    settings: dict[str, object],
) -> Outcome:
    """The outcome of a clip whose worker died of it or was ended."""
    clip, names = job.clip, registry.feature_names(settings)
    _sweep(store, Corpus("", class_names, [clip]), names)
    if job.only:  # the others are there
        record = job.previous._replace(
            states=job.previous.states | dict.fromkeys(job.only, "failed")
        )
        return Outcome(clip.split, record, [Failure(clip.stem, "process", reason)])
    return _outcome(clip, _nothing("process", reason, names), class_names)


def label_columns(clip: Clip, corpus: Corpus) -> dict[str, str]:
    """Names of a clip's labels by the columns of the manifest."""
    return {
        kind: "" if label is None else corpus.class_names[label]
        for kind, label in clip.labels._asdict().items()
    }


def _nothing(stage: str, reason: str, features: Sequence[str]) -> Extracted:
    states = dict.fromkeys(features, "failed")
    return Extracted(states=states, failures=[(stage, reason)])


def _add(job: Job, store: FeatureStore, extractor: Extractor) -> Outcome | None:
    """Add what is missing to what is stored; None where that is damaged, and made again."""
    clip, before = job.clip, job.previous
    try:
        found = extractor.extract(clip, StoredClip(store, clip.split, before), job.only)
    except (UserError, ValueError):
        return None
    _store(store, clip, found)
    record = before._replace(states=before.states | found.states, facts=before.facts | found.facts)
    record = _with_others(job, record, store, extractor)
    return Outcome(clip.split, record, [Failure(clip.stem, *failure) for failure in found.failures])


def _outcome(clip: Clip, found: Extracted, class_names: tuple[str, ...]) -> Outcome:
    failures = [Failure(clip.stem, stage, reason) for stage, reason in found.failures]
    labels = label_columns(clip, Corpus("", class_names, ()))
    return Outcome(clip.split, found.record(clip, labels), failures)


def _sweep(store: FeatureStore, corpus: Corpus, features: Sequence[str]) -> None:
    names: dict[str, set[str]] = {}
    for clip in corpus.clips:
        files = (_file_name(clip, feature) for feature in features)
        names.setdefault(clip.split, set()).update(files)
    for split, own in names.items():
        for folder in _folders(features).values():
            refuse_links(store.root / split / folder, within=store.root)
        remove_partial_files(store.root / split, own)


def _folders(features: Sequence[str]) -> dict[str, str]:
    return {name: registry.feature(name).folder for name in features}


def _file_name(clip: Clip, feature: str) -> str:
    made = registry.feature(feature)
    return (clip.id if made.by_id else clip.stem) + made.suffix


def _list_files(
    store: FeatureStore, corpus: Corpus, features: Sequence[str]
) -> dict[tuple[str, str], set[str]]:
    """File names by split and feature: one listing a folder is far quicker than a look a file."""
    listing = {}
    for split in {clip.split for clip in corpus.clips}:
        for feature, folder in _folders(features).items():
            path = store.root / split / folder
            listing[split, feature] = set(os.listdir(path)) if path.is_dir() else set()
    return listing


def _broken(
    clip: Clip, record: Record, features: Sequence[str], listing: dict[tuple[str, str], set[str]]
) -> list[str]:
    """The features that failed, or whose files are gone, and those that are made of them."""
    broken: list[str] = []
    for feature in features:
        state = record.state(feature)
        has_file = state in registry.feature(feature).kept
        is_there = _file_name(clip, feature) in listing[clip.split, feature]
        of_broken = not {*broken}.isdisjoint(registry.feature(feature).needs)
        if state == "failed" or (has_file and not is_there) or of_broken:
            broken.append(feature)
    return broken


def _lacking(
    clip: Clip, record: Record, features: Sequence[str], settings: dict[str, object]
) -> tuple[str, ...]:
    """Features that nobody has looked for, or that can be made since."""
    lacking = []
    for name in features:
        feature, state = registry.feature(name), record.state(name)
        makeable = state in ("missing", "skipped") and feature.is_made(settings)
        if makeable or (state == "absent" and feature.lies_beside(clip)):
            lacking.append(name)
    return tuple(lacking)


def _store(store: FeatureStore, clip: Clip, found: Extracted) -> None:
    for feature, value in found.values.items():
        store.write(clip.split, feature, clip.stem, value, clip.id)
