"""Which clips have work left, and the work on one of them."""

import os
from typing import NamedTuple

import numpy as np

from src.corpora import Clip, Corpus
from src.feature_store import MODALITY_FOLDERS, SUFFIXES, Failure, FeatureStore, Record
from src.preprocessing.journal import Outcome
from src.preprocessing.pipeline import ClipFeatures, FeatureSettings, Tools, embed_faces, extract


class Job(NamedTuple):
    """One clip's work; ``previous`` is its record where only the embedding is missing."""

    clip: Clip
    previous: Record | None


def find_jobs(
    store: FeatureStore,
    corpus: Corpus,
    known: dict[tuple[str, str], Outcome],
    settings: FeatureSettings,
) -> list[Job]:
    """The clips whose record is missing, failed, or names files that are not there."""
    listing = _list_files(store, corpus)
    jobs = []
    for clip in corpus.clips:
        outcome = known.get((clip.split, clip.stem))
        if outcome is None or not _is_done(clip, outcome.record, listing):
            jobs.append(Job(clip, None))
            continue
        # Labels may have been corrected since.
        record = outcome.record._replace(**_label_columns(clip, corpus))
        known[clip.split, clip.stem] = outcome._replace(record=record)
        if record.embedding_state == "skipped" and settings.vggface:
            jobs.append(Job(clip, record))
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
    if job.previous is not None:
        track = store.read_faces(clip.split, clip.stem)
        store.write_array(clip.split, "embedding", clip.stem, embed_faces(track, tools.embedder))
        return Outcome(clip.split, job.previous._replace(embedding_state="ok"), [])
    features = extract(clip, settings, tools)
    _store(store, clip, features)
    failures = [Failure(clip.stem, stage, reason) for stage, reason in features.failures]
    return Outcome(clip.split, _record(clip, features, class_names), failures)


def _list_files(store: FeatureStore, corpus: Corpus) -> dict[tuple[str, str], set[str]]:
    """File names by split and modality: one listing a folder is far quicker than a look a file."""
    listing = {}
    for split in {clip.split for clip in corpus.clips}:
        for modality, folder in MODALITY_FOLDERS.items():
            path = store.root / split / folder
            listing[split, modality] = set(os.listdir(path)) if path.is_dir() else set()
    return listing


def _is_done(clip: Clip, record: Record, listing: dict[tuple[str, str], set[str]]) -> bool:
    for modality, suffix in SUFFIXES.items():
        state = record.state(modality)
        name = (clip.id if modality == "text" else clip.stem) + suffix
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


def _label_columns(clip: Clip, corpus: Corpus) -> dict[str, str]:
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
        **_label_columns(clip, Corpus("", class_names, ())),
        duration=round(features.duration, 4),
        start=round(features.interval.start, 4),
        end=round(features.interval.end, 4),
        frames=features.interval.frames,
        face_frames=len(found),
        face_coverage=round(float(found.mean()), 4) if len(found) else 0.0,
        words=0 if features.text is None else len(features.text),
        **{f"{modality}_state": features.states[modality] for modality in MODALITY_FOLDERS},
    )
