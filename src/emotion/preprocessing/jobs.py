"""Which clips have work left, and the work on one of them."""

import os
from typing import NamedTuple

import numpy as np

from emotion.corpora import Clip, Corpus
from emotion.errors import UserError
from emotion.files import LONGEST_NAME, refuse_links, remove_partial_files
from emotion.inputs.store import (
    MODALITY_FOLDERS,
    SUFFIXES,
    Failure,
    FeatureStore,
    Record,
)
from emotion.preprocessing.journal import Known, Outcome
from emotion.preprocessing.pipeline import (
    ClipFeatures,
    FeatureSettings,
    Tools,
    embed_faces,
    extract,
)


class Job(NamedTuple):
    """One clip's work; ``previous`` is its record where only the embedding is missing."""

    clip: Clip
    previous: Record | None


def find_jobs(
    store: FeatureStore,
    corpus: Corpus,
    known: Known,
    settings: FeatureSettings,
) -> list[Job]:
    """The clips whose record is missing, failed, or names files that are not there.

    ``corpus`` is this process's share: what a killed run left half written of it is swept away,
    while other processes may be writing their files.
    """
    _sweep(store, corpus)
    listing = _list_files(store, corpus)
    jobs = []
    for clip in corpus.clips:
        outcome = known.get((clip.split, clip.stem))
        if outcome is None or not _is_done(clip, outcome.record, listing):
            jobs.append(Job(clip, None))
            continue
        if outcome.record.embedding_state == "skipped" and settings.vggface:
            jobs.append(Job(clip, outcome.record))
    return jobs


def process(
    job: Job,
    store: FeatureStore,
    class_names: tuple[str, ...],
    settings: FeatureSettings,
    tools: Tools,
) -> Outcome:
    """Extract and store the features of one clip."""
    clip = job.clip
    if job.previous is not None and _embed(clip, store, tools):
        return Outcome(clip.split, job.previous._replace(embedding_state="ok"), [])
    if len(clip.stem.encode()) > LONGEST_NAME:
        reason = f"its name has more than {LONGEST_NAME} bytes; rename it"
        return _outcome(clip, _nothing("name", reason), class_names)
    features = extract(clip, settings, tools)
    _store(store, clip, features)
    return _outcome(clip, features, class_names)


def lost(job: Job, reason: str, store: FeatureStore, class_names: tuple[str, ...]) -> Outcome:
    """The outcome of a clip whose worker died of it or was ended."""
    clip = job.clip
    _sweep(store, Corpus("", class_names, [clip]))
    return _outcome(clip, _nothing("process", reason), class_names)


def _nothing(stage: str, reason: str) -> ClipFeatures:
    states = dict.fromkeys(MODALITY_FOLDERS, "failed")
    return ClipFeatures(states=states, failures=[(stage, reason)])


def _embed(clip: Clip, store: FeatureStore, tools: Tools) -> bool:
    """Add the embedding to stored crops; not to damaged ones, which are then made again."""
    try:
        embedding = embed_faces(store.read_faces(clip.split, clip.stem), tools.embedder)
    except (UserError, ValueError):
        return False
    store.write_array(clip.split, "embedding", clip.stem, embedding)
    return True


def _outcome(clip: Clip, features: ClipFeatures, class_names: tuple[str, ...]) -> Outcome:
    failures = [Failure(clip.stem, stage, reason) for stage, reason in features.failures]
    return Outcome(clip.split, _record(clip, features, class_names), failures)


def _sweep(store: FeatureStore, corpus: Corpus) -> None:
    names: dict[str, set[str]] = {}
    for clip in corpus.clips:
        files = (_file_name(clip, modality) for modality in SUFFIXES)
        names.setdefault(clip.split, set()).update(files)
    for split, own in names.items():
        for folder in MODALITY_FOLDERS.values():
            refuse_links(store.root / split / folder, within=store.root)
        remove_partial_files(store.root / split, own)


def _file_name(clip: Clip, modality: str) -> str:
    return (clip.id if modality == "text" else clip.stem) + SUFFIXES[modality]


def _list_files(store: FeatureStore, corpus: Corpus) -> dict[tuple[str, str], set[str]]:
    """File names by split and modality: one listing a folder is far quicker than a look a file."""
    listing = {}
    for split in {clip.split for clip in corpus.clips}:
        for modality, folder in MODALITY_FOLDERS.items():
            path = store.root / split / folder
            listing[split, modality] = set(os.listdir(path)) if path.is_dir() else set()
    return listing


def _is_done(clip: Clip, record: Record, listing: dict[tuple[str, str], set[str]]) -> bool:
    for modality in SUFFIXES:
        state = record.state(modality)
        name = _file_name(clip, modality)
        has_file = state == "ok" or (modality == "video" and state == "no_face")
        if state == "failed" or (has_file and name not in listing[clip.split, modality]):
            return False
    return not (clip.text and record.text_state == "absent")  # words may be put there later


def _store(store: FeatureStore, clip: Clip, features: ClipFeatures) -> None:
    if features.speech is not None:
        store.write_array(clip.split, "speech", clip.stem, features.speech)
    if features.faces is not None:
        store.write_faces(clip.split, clip.stem, features.faces)
    if features.embedding is not None:
        store.write_array(clip.split, "embedding", clip.stem, features.embedding)
    if features.text is not None:
        store.write_text(clip.split, clip.id, features.text)


def label_columns(clip: Clip, corpus: Corpus) -> dict[str, str]:
    """Names of a clip's labels by the columns of the manifest."""
    return {
        kind: "" if label is None else corpus.class_names[label]
        for kind, label in clip.labels._asdict().items()
    }


def _record(clip: Clip, features: ClipFeatures, class_names: tuple[str, ...]) -> Record:
    found = features.faces.found if features.faces is not None else np.zeros(0, bool)
    return Record(
        id=clip.id,
        stem=clip.stem,
        speaker=clip.speaker or "",
        **label_columns(clip, Corpus("", class_names, ())),
        duration=round(features.duration, 4),
        start=round(features.interval.start, 4),
        end=round(features.interval.end, 4),
        frames=features.interval.frames,
        face_frames=len(found),
        face_coverage=round(float(found.mean()), 4) if len(found) else 0.0,
        words=0 if features.text is None else len(features.text),
        **{f"{modality}_state": features.states[modality] for modality in MODALITY_FOLDERS},
        peak_db=None if features.peak_db is None else round(features.peak_db, 2),
    )
