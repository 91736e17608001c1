"""A corpus to ``features/``: what is missing is extracted by a pool of workers, nothing else."""

import os
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from src.command_line import flag
from src.corpora import CORPORA, Corpus, load_corpus
from src.errors import UserError
from src.feature_store import MODALITY_FOLDERS, FeatureStore, remove_partial_files
from src.paths import HOME
from src.preprocessing.face_embedding import FaceEmbedder, find_weights, fingerprint
from src.preprocessing.jobs import find_jobs
from src.preprocessing.journal import Journal, Outcome
from src.preprocessing.pipeline import FeatureSettings
from src.preprocessing.pool import outcomes

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


def preprocess(options: PreprocessOptions) -> int:
    """Do what is missing; returns the exit code.

    Raises:
        UserError: a folder, a label, the settings or the weights are not usable.
    """
    corpus = load_corpus(options.corpus, Path(options.data_dir or HOME / options.corpus))
    weights = find_weights(options.vggface_weights)
    if weights:
        FaceEmbedder(weights)  # a file that is none fails here, before features.json names it
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
        outcomes(jobs, corpus, store, settings, weights, options.num_workers), known, len(jobs)
    )
    return _summarise(store, corpus, known, len(jobs), options.max_failures)


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
                    f"{store.root}: its features were made with {name} {found.get(name)}, now it "
                    f"is {value}; give another --features_dir or remove the folder"
                )
    description = {
        "corpus": wanted.pop("corpus"),
        "class_names": wanted.pop("class_names"),
        "settings": wanted,
        "versions": {name: version(name) for name in PACKAGES},
    }
    store.write_description(description)


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
