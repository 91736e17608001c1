"""What hand-made statistics of the spectrograms reach: the bar for any network.

    python benchmarks/functionals.py --features_dir DIR --n_folds FILE

A support vector machine (RBF) on means, deviations, percentiles and movements of 32 bands, trained
on the clips that a run of the same fold trains on; scored on the validation fold, and with ``--part
test`` on the test fold. ``--normalise speaker``: against the mean and deviation of the speaker;
``--speech_level``: at the level of the recording, which scaling to the clip's own peak takes away.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from emotion.data.examples import Example, Folds, fold_count, load_parts
from emotion.inputs.audio import at_its_level
from emotion.inputs.log_mel import level_of
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.training.options import number_or_file

N_BANDS, QUARTERS, C = 32, 4, 10.0


def functionals(log_mel: np.ndarray) -> np.ndarray:
    """Statistics of a spectrogram (128, T): a vector of 292 numbers."""
    bands = log_mel.astype(np.float32).reshape(N_BANDS, -1, log_mel.shape[1]).mean(axis=1)
    level = log_mel.astype(np.float32).mean(axis=0)
    steps = np.abs(np.diff(bands, axis=1, append=bands[:, -1:])).mean(axis=1)
    parts = [
        bands.mean(axis=1),
        bands.std(axis=1),
        *np.percentile(bands, (10, 90), axis=1),
        steps,
        [level.mean(), level.std(), np.abs(np.diff(level)).sum() / len(level), len(level) / 100],
        *(quarter.mean(axis=1) for quarter in np.array_split(bands, QUARTERS, axis=1)),
    ]
    return np.nan_to_num(np.concatenate(parts))


def by_speaker(values: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Each statistic against its mean and deviation over the clips of a speaker."""
    normed = np.empty_like(values)
    for speaker in np.unique(speakers):
        own = speakers == speaker
        normed[own] = (values[own] - values[own].mean(axis=0)) / (values[own].std(axis=0) + 1e-6)
    return normed


def fold_score(store: FeatureStore, options: argparse.Namespace, fold: int) -> float:
    """Unweighted average recall of one fold."""
    names = store.read_description()["class_names"]
    folds = Folds(options.n_folds, fold)
    parts = load_parts(store, names, lambda r: r.state("speech") == "ok", "speech", folds)
    tested: list[Example] = getattr(parts, options.part)
    examples = parts.train + tested
    values = np.stack([read(store, example, options.speech_level) for example in examples])
    if options.normalise == "speaker":
        values = by_speaker(values, np.array([e.record.speaker for e in examples]))
    labels = np.array([example.speech for example in examples])
    train = np.arange(len(examples)) < len(parts.train)
    machine = make_pipeline(StandardScaler(), SVC(C=C, gamma=0.3 / values.shape[1]))
    machine.fit(values[train], labels[train])
    answers = machine.predict(values[~train])
    return 100 * recall_score(labels[~train], answers, average="macro")


def read(store: FeatureStore, example: Example, at_level: bool) -> np.ndarray:
    """The statistics of one clip."""
    log_mel = StoredClip(store, example.split, example.record).read("speech").astype(np.float32)
    return functionals(at_its_level(log_mel, level_of(example.record)) if at_level else log_mel)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features_dir", type=Path, required=True)
    parser.add_argument("--n_folds", type=number_or_file, required=True)
    parser.add_argument("--normalise", choices=("none", "speaker"), default="none")
    parser.add_argument("--speech_level", action="store_true")
    parser.add_argument("--part", choices=("val", "test"), default="val")
    options = parser.parse_args()
    store = FeatureStore(options.features_dir)
    count = fold_count(options.n_folds)
    scores = [fold_score(store, options, fold) for fold in range(1, count + 1)]
    each = " ".join(f"{score:.1f}" for score in scores)
    print(f"UA {np.mean(scores):.1f} ({options.part} of folds 1 to {count}: {each})")


if __name__ == "__main__":
    main()
