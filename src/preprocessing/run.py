"""A corpus to ``features/``: what is missing is extracted by a pool of workers, and nothing else."""

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import torch
from tqdm import tqdm

from src.command_line import flag
from src.corpora import CORPORA, Clip, Corpus, load_corpus
from src.errors import UserError
from src.feature_store import (
    MODALITY_FOLDERS,
    SUFFIXES,
    Failure,
    FeatureStore,
    Record,
    remove_partial_files,
)
from src.preprocessing.face_embedding import find_weights, fingerprint
from src.preprocessing.pipeline import ClipFeatures, FeatureSettings, Tools, embed_faces, extract

HOME = Path(__file__).resolve().parents[2]
PACKAGES = ("numpy", "scipy", "librosa", "av", "opencv-python-headless", "torch", "facenet-pytorch")


@dataclass
class PreprocessOptions:
    """The flags of preprocess.py."""

    corpus: str = flag("qia2020", "which corpus to read", "data", tuple(CORPORA))
    data_dir: str = flag("", "its folder; qia2020/ beside the script where none is given", "data")
    features_dir: str = flag("", "where features go; features/ beside the script", "data")
    denoise: str = flag("none", "denoising of the speech", "features", ("none", "wiener"))
    face_stride: int = flag(8, "mel frames (16 ms) between two face crops", "features", low=1)
    jpeg_quality: int = flag(95, "of the stored face crops", "features", low=1, high=100)
    vggface_weights: str = flag(
        "auto", "VGG-Face weights: a file, auto (download) or none (no embeddings)", "features"
    )
    num_workers: int = flag(os.cpu_count() or 1, "processes; 0 works in this one", "running", low=0)
    max_failures: float = flag(
        5.0, "percent of clips that may fail before the exit code is 1", "running", low=0, high=100
    )


class Job(NamedTuple):
    """One clip's work; ``previous`` is its record where only the embedding is missing."""

    clip: Clip
    previous: Record | None


class Outcome(NamedTuple):
    """What a worker reports of a clip."""

    split: str
    record: Record
    failures: list[Failure]


def preprocess(options: PreprocessOptions) -> int:
    """Do what is missing; returns the exit code.

    Raises:
        UserError: a folder, a label, the settings or the weights are not usable.
    """
    corpus = load_corpus(options.corpus, Path(options.data_dir or HOME / options.corpus))
    weights = find_weights(options.vggface_weights)
    settings = FeatureSettings(
        options.denoise,
        options.face_stride,
        options.jpeg_quality,
        fingerprint(weights) if weights else None,
    )
    store = FeatureStore(Path(options.features_dir or HOME / "features"))
    _describe(store, corpus, settings)
    remove_partial_files(store.root)
    journal = Journal(store)
    known = journal.read()
    jobs = find_jobs(store, corpus, known, settings)
    journal.work(
        _outcomes(jobs, corpus, store, settings, weights, options.num_workers), known, len(jobs)
    )
    return _summarise(store, corpus, known, len(jobs), options.max_failures)


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
        elif outcome.record.embedding_state == "skipped" and settings.vggface:
            jobs.append(Job(clip, outcome.record))
        else:  # labels may have been corrected since
            record = outcome.record._replace(**_label_columns(clip, corpus))
            known[clip.split, clip.stem] = outcome._replace(record=record)
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


class Journal:
    """Outcomes of a run under way, a line each, so that a killed run loses none."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.path = store.root / ".journal.jsonl"

    def read(self) -> dict[tuple[str, str], Outcome]:
        """What is known of every clip: the manifests, then what a killed run added."""
        known = {}
        for split in self.store.splits():
            failures: dict[str, list[Failure]] = {}
            for failure in self.store.read_failures(split):
                failures.setdefault(failure.stem, []).append(failure)
            for record in self.store.read_manifest(split):
                outcome = Outcome(split, record, failures.get(record.stem, []))
                known[split, record.stem] = outcome
        for outcome in self._lines():
            known[outcome.split, outcome.record.stem] = outcome
        return known

    def work(self, outcomes: Iterator[Outcome], known: dict, total: int) -> None:
        """Write each outcome down as it comes, with a progress bar; add it to ``known``."""
        if not total:
            return
        self.store.root.mkdir(parents=True, exist_ok=True)
        bar = tqdm(outcomes, total=total, unit="clip", desc="preprocess", smoothing=0.05)
        with self.path.open("a", encoding="utf-8") as file:
            for outcome in bar:
                self._append(file, outcome)
                known[outcome.split, outcome.record.stem] = outcome

    def remove(self) -> None:
        """Forget, once the manifests hold everything."""
        self.path.unlink(missing_ok=True)

    def _append(self, file: TextIO, outcome: Outcome) -> None:
        file.write(json.dumps(outcome, ensure_ascii=False) + "\n")
        file.flush()

    def _lines(self) -> Iterator[Outcome]:
        if not self.path.is_file():
            return
        for line in self.path.read_text("utf-8").splitlines():
            try:
                split, record, failures = json.loads(line)
                yield Outcome(split, Record(*record), [Failure(*f) for f in failures])
            except (ValueError, TypeError):  # the line a kill cut short; its clip is done again
                continue


def _describe(store: FeatureStore, corpus: Corpus, settings: FeatureSettings) -> None:
    """Write features.json, or check that the folder's is of the same corpus and settings."""
    wanted = {"corpus": corpus.name, "class_names": list(corpus.class_names), **asdict(settings)}
    before = store.read_description()
    if before is not None:
        found = {
            "corpus": before["corpus"],
            "class_names": before["class_names"],
            **before["settings"],
        }
        if found["vggface"] is None or wanted["vggface"] is None:
            # embeddings can be added later, and stay when a later run has no weights
            found["vggface"] = wanted["vggface"] = found["vggface"] or wanted["vggface"]
        for name, value in wanted.items():
            if found.get(name) != value:
                raise UserError(
                    f"{store.root}: its features were made with {name} {found.get(name)}, now it is "
                    f"{value}; give another --features_dir or remove the folder"
                )
    description = {
        "corpus": wanted.pop("corpus"),
        "class_names": wanted.pop("class_names"),
        "settings": wanted,
        "versions": {name: version(name) for name in PACKAGES},
    }
    store.write_description(description)


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
    return not (clip.text and record.text_state == "absent" and record.words == 0)


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


# -- workers ---------------------------------------------------------------------------------------

_worker: dict[str, Any] = {}


def _outcomes(
    jobs: list[Job],
    corpus: Corpus,
    store: FeatureStore,
    settings: FeatureSettings,
    weights: Path | None,
    num_workers: int,
) -> Iterator[Outcome]:
    """Outcomes in the order in which the clips are done."""
    context = (store, corpus.class_names, settings, weights)
    if num_workers == 0 or len(jobs) <= 1:
        _prepare_worker(*context)
        yield from map(_work, jobs)
        return
    with _pool(min(num_workers, len(jobs)), context) as pool:
        todo = iter(jobs)
        running = {pool.submit(_work, job) for job in islice(todo, 4 * num_workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(_work, job) for job in islice(todo, len(done))}
            yield from map(_result, done)


@contextmanager
def _pool(size: int, context: tuple) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(size, multiprocessing.get_context("spawn"), _start_worker, context)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _result(future: Future) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process died (out of memory?); run again, it goes on from there, with fewer "
            "--num_workers if it happens again"
        ) from None


def _start_worker(*context: Any) -> None:
    """First thing in a worker process: one thread, Ctrl-C left to the parent, no life without it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()
    _prepare_worker(*context)


def _prepare_worker(
    store: FeatureStore,
    class_names: tuple[str, ...],
    settings: FeatureSettings,
    weights: Path | None,
) -> None:
    _worker["context"] = (store, class_names, settings, Tools(weights))


def _work(job: Job) -> Outcome:
    return process(job, *_worker["context"])


def _summarise(
    store: FeatureStore,
    corpus: Corpus,
    known: dict[tuple[str, str], Outcome],
    done: int,
    max_failures: float,
) -> int:
    """Write manifests and failures, print the summary line; returns the exit code."""
    outcomes = [known[clip.split, clip.stem] for clip in corpus.clips]
    for split in dict.fromkeys(clip.split for clip in corpus.clips):
        rows = [outcome for outcome in outcomes if outcome.split == split]
        store.write_manifest(split, [outcome.record for outcome in rows])
        store.write_failures(split, [f for outcome in rows for f in outcome.failures])
    Journal(store).remove()
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    counts = ", ".join(
        f"{modality} {sum(o.record.state(modality) == 'ok' for o in outcomes)}"
        for modality in MODALITY_FOLDERS
    )
    where = f" (see {store.root}/*/failures.csv)" if failed else ""
    print(
        f"{corpus.name}: {len(outcomes)} clips, {done} extracted now, {failed} failed{where}; "
        f"with {counts}; features in {store.root}"
    )
    too_many = failed > max_failures / 100 * len(outcomes)
    if too_many:
        print(f"error: more than {max_failures:g} % of the clips failed", file=sys.stderr)
    return int(too_many)
