"""A corpus to ``features/``: what is missing is extracted by a pool of workers, nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from emotion.corpora import Corpus, load_corpus
from emotion.errors import UserError
from emotion.frozen.vggface import FaceEmbedder, find_weights, fingerprint
from emotion.inputs.store import FORMAT, FeatureStore
from emotion.locking import only_run_in
from emotion.machine import local_rank
from emotion.paths import HOME
from emotion.preprocessing.jobs import find_jobs
from emotion.preprocessing.journal import Journal, read_known
from emotion.preprocessing.merge import folder_lock, merge, summarise
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.pipeline import FeatureSettings
from emotion.preprocessing.pool import outcomes
from emotion.preprocessing.shards import Shard, choose_shard
from emotion.preprocessing.transcripts import (
    WordEmbedder,
    embed_transcripts,
    find_pending,
    open_embedder,
)
from emotion.telling import note, say

PACKAGES = ("numpy", "scipy", "librosa", "av", "opencv-python-headless", "torch", "facenet-pytorch")
RUN_LOCK = ".run.lock"
TEXT_PACKAGES = ("transformers", "tokenizers")  # an extra, not always there


def preprocess(options: PreprocessOptions) -> int:
    """Do what is missing; returns the exit code.

    Raises:
        UserError: a folder, a label, the settings or the weights are not usable.
    """
    corpus = load_corpus(options.corpus, Path(options.data_dir or HOME / options.corpus))
    store = FeatureStore(Path(options.features_dir or HOME / "features"))
    if options.merge_only:
        known = merge(store, corpus, {}, even_if_incomplete=True)
        return summarise(store, corpus, known, 0, options.max_failures)
    shard = choose_shard(options.shard)
    weights = find_weights(options.vggface_weights)
    if weights:
        FaceEmbedder(weights)  # a file that is none fails here, before features.json names it
    embedder = _open_embedder(options, corpus)
    settings = FeatureSettings(
        options.denoise,
        options.face_stride,
        options.jpeg_quality,
        fingerprint(weights) if weights else None,
        embedder.name if embedder else None,
    )
    with alone(store, shard):
        with folder_lock(store):
            _describe(store, corpus, settings)
        return _extract(options, store, corpus, shard, settings, weights, embedder)


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
    settings: FeatureSettings,
    weights: Path | None,
    embedder: WordEmbedder | None,
) -> int:
    mine = shard.of(corpus)
    journal, show = Journal(store, shard.name), local_rank() == 0
    known = read_known(store)
    jobs = find_jobs(store, mine, known, settings)
    work = outcomes(jobs, mine, store, settings, weights, options.num_workers, options.clip_timeout)
    journal.work(work, known, len(jobs), show)
    if embedder:
        pending = find_pending(mine, known)
        work = embed_transcripts(pending, known, embedder, store)
        journal.work(work, known, len(pending), show)
    return _finish(store, corpus, shard, journal, len(jobs), options.max_failures)


def _open_embedder(options: PreprocessOptions, corpus: Corpus) -> WordEmbedder | None:
    embedder = open_embedder(options.text_encoder, options.text_layers, options.word_vectors)
    transcripts = sum(bool(clip.transcript) for clip in corpus.clips)
    if embedder and not transcripts:
        raise UserError(
            f"{corpus.name}: has no transcripts; leave out --text_encoder and --word_vectors"
        )
    if transcripts and not embedder:
        note(
            f"{transcripts} transcripts are left as they are; --text_encoder or "
            "--word_vectors embeds them, now or later"
        )
    return embedder


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
        for name in ("vggface", "text"):
            # embeddings can be added later, and stay when a later run does not make them
            if found.get(name) is None or wanted[name] is None:
                found[name] = wanted[name] = found.get(name) or wanted[name]
        for name, value in wanted.items():
            if found.get(name) != value:
                raise UserError(
                    f"{store.root}: its features were made with {name} {found.get(name)}, now it "
                    f"is {value}; give another --features_dir or remove the folder"
                )
    description = {
        "corpus": wanted.pop("corpus"),
        "class_names": wanted.pop("class_names"),
        "settings": wanted,
        "versions": {
            name: version(name) for name in (*PACKAGES, *filter(find_spec, TEXT_PACKAGES))
        },
    }
    if before != {"format": FORMAT, **description}:
        store.write_description(description)


def _finish(
    store: FeatureStore,
    corpus: Corpus,
    shard: Shard,
    journal: Journal,
    done: int,
    max_failures: float,
) -> int:
    """Merge, or leave that to the process that finishes last; returns the exit code.

    Only the last one judges the number of failures: torchrun ends all ranks when one exits with 1.
    """
    known = merge(store, corpus, journal.done, even_if_incomplete=False)
    missing = len(corpus.clips) - len(known)
    if not missing:
        return summarise(store, corpus, known, done, max_failures)
    failed = sum(bool(outcome.failures) for outcome in journal.done.values())
    say(
        f"{corpus.name}: shard {shard}, {done} clips extracted now, {failed} failed; {missing} "
        f"clips of other shards are still to come; features in {store.root}"
    )
    return 0
