"""A corpus to ``features/``: what is missing is extracted by a pool of workers, nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emotion import registry
from emotion.corpora.loading import load_corpus
from emotion.errors import UserError
from emotion.inputs.extraction import describe, extraction_of
from emotion.inputs.feature import Afterwards, agree
from emotion.inputs.own_vectors import given_vectors
from emotion.inputs.store import FORMAT, FeatureStore
from emotion.locking import only_run_in
from emotion.machine import local_rank
from emotion.paths import HOME
from emotion.preprocessing.check import check
from emotion.preprocessing.contact import draw_contacts
from emotion.preprocessing.jobs import find_jobs
from emotion.preprocessing.journal import Journal, read_known
from emotion.preprocessing.merge import folder_lock, merge, summarise
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.pool import outcomes
from emotion.preprocessing.shards import MERGE, Shard, choose_shard
from emotion.records import Corpus
from emotion.telling import note, say

PACKAGES = ("numpy", "scipy", "librosa", "av", "opencv-python-headless", "torch", "facenet-pytorch")
RUN_LOCK = ".run.lock"
EXTRAS = (
    "transformers",
    "tokenizers",
    "onnxruntime",
    "faster_whisper",
    "ctranslate2",
)  # not always there


def preprocess(options: PreprocessOptions) -> int:
    """Do what is missing; returns the exit code.

    Raises:
        UserError: a folder, a label, the settings or the weights are not usable.
    """
    store = FeatureStore(Path(options.features_dir or HOME / "features"))
    if options.check:
        return check(store)
    corpus = load_corpus(options.corpus, Path(options.data_dir or HOME / options.corpus))
    if options.shard == MERGE:
        known = merge(store, corpus, {}, even_if_incomplete=True)
        draw_contacts(store, corpus.class_names, anew=True)
        return summarise(store, corpus, known, 0, options.max_failures)
    shard = choose_shard(options.shard)
    settings = describe(options) | given_vectors(corpus)
    _tell_unmade(settings)
    stages = _stages(options, corpus, store)
    for stage in stages:
        settings |= stage.settings
    with alone(store, shard):
        with folder_lock(store):
            _describe(store, corpus, settings)
        return _extract(options, store, corpus, shard, settings=settings, stages=stages)


@contextmanager
def alone(store: FeatureStore, shard: Shard) -> Iterator[None]:
    """One process a share: shards work side by side, but not beside one that does everything."""
    whole = only_run_in(store.root, RUN_LOCK, beside_others=shard.count > 1)
    share = only_run_in(store.root, f".run.{shard.name}.lock") if shard.count > 1 else nullcontext()
    with whole, share:
        yield


def _extract(
    options: PreprocessOptions,
    store: FeatureStore,
    corpus: Corpus,
    shard: Shard,
    *,
    settings: dict[str, Any],
    stages: list[Afterwards],
) -> int:
    mine = shard.of(corpus)
    journal, show = Journal(store, shard.name), local_rank() == 0
    known = read_known(store)
    jobs = find_jobs(store, mine, known, settings)
    journal.work(outcomes(jobs, mine, store, settings, options), known, len(jobs), show)
    for stage in stages:
        records = {place: outcome.record for place, outcome in known.items()}
        pending = stage.pending(mine, records)
        done = (
            known[clip.split, clip.stem]._replace(record=record)
            for clip, record in stage.work(pending, records)
        )
        journal.work(done, known, len(pending), show)
    return _finish(store, corpus, shard, journal, done=len(jobs), max_failures=options.max_failures)


def _stages(options: PreprocessOptions, corpus: Corpus, store: FeatureStore) -> list[Afterwards]:
    """What features do after the media of all clips."""
    stages = [
        registry.feature(name).afterwards(
            registry.pick(extraction_of(name), options), corpus, store
        )
        for name in registry.feature_names()
    ]
    return [stage for stage in stages if stage is not None]


def _tell_unmade(settings: dict[str, Any]) -> None:
    """A line for features of an extension that are optional by their name, and not asked for."""
    for name in registry.brought("FEATURES"):
        if registry.FAMILY in name.rstrip(registry.FAMILY) and name not in settings:
            note(f"{name} is not made: no describe() of an extension gives a value for {name!r}")


def _describe(store: FeatureStore, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Write features.json, or check that the folder's is of the same corpus and settings."""
    wanted = {"corpus": corpus.name, "class_names": list(corpus.class_names), **settings}
    before = store.read_description()
    if before is not None:
        found = {
            "corpus": before["corpus"],
            "class_names": before["class_names"],
            **before["settings"],
        }
        for name in _addable(found, wanted):
            found[name] = wanted[name] = found.get(name) or wanted.get(name)
        for name, value in wanted.items():
            if not agree(found.get(name), value):
                raise UserError(
                    f"{store.root}: its features were made with {name} {found.get(name)}, now it "
                    f"is {value}; give another --features_dir or remove the folder"
                )
    description = {
        "corpus": wanted.pop("corpus"),
        "class_names": wanted.pop("class_names"),
        **({"notice": corpus.notice} if corpus.notice else {}),
        "settings": wanted,
        "versions": {name: version(name) for name in (*PACKAGES, *filter(find_spec, EXTRAS))},
    }
    if before != {"format": FORMAT, **description}:
        store.write_description(description)


def _addable(found: dict[str, Any], wanted: dict[str, Any]) -> set[str]:
    """Settings of what is not made, then or now: it can be added later, and stays when a later run
    does not make it. So can a feature that nobody knew of then.
    """
    both = found.keys() | wanted.keys()
    addable = {n for n in both if found.get(n, "") is None or wanted.get(n, "") is None}
    addable |= {n for n in both if registry.FAMILY in n and (n not in found or n not in wanted)}
    for name in registry.feature_names():
        own = set(registry.feature(name).settings)
        if not own & found.keys():
            addable |= own & wanted.keys()
    return addable


def _finish(
    store: FeatureStore,
    corpus: Corpus,
    shard: Shard,
    journal: Journal,
    *,
    done: int,
    max_failures: float,
) -> int:
    """Merge, or leave that to the process that finishes last; returns the exit code.

    Only the last one judges the number of failures: torchrun ends all ranks when one exits with 1.
    """
    known = merge(store, corpus, journal.done, even_if_incomplete=False)
    missing = len(corpus.clips) - len(known)
    if not missing:
        draw_contacts(store, corpus.class_names, anew=done > 0)
        return summarise(store, corpus, known, done, max_failures)
    failed = sum(bool(outcome.failures) for outcome in journal.done.values())
    say(
        f"{corpus.name}: shard {shard}, {done} clips extracted now, {failed} failed; {missing} "
        f"clips of other shards are still to come; features in {store.root}"
    )
    return 0
