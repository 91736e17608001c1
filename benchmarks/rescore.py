"""Scores of stored answers: what benchmarks/results/ holds, against the labels you have.

    python benchmarks/rescore.py benchmarks/results/ravdess_speech.csv --features_dir DIR

The file has a row an answer: ``run,clip,prediction``. Labels come from the manifests of the
features folder, so that no corpus lies in the repository.
"""

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sklearn.metrics import accuracy_score, f1_score, recall_score

from src.feature_store import FeatureStore

SCORES = ("WA", "UA", "macro F1", "weighted F1")


def read_answers(path: Path) -> dict[str, dict[str, str]]:
    """Run -> clip -> class name."""
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            answers[row["run"]][row["clip"]] = row["prediction"]
    return answers


def read_labels(store: FeatureStore, label: str) -> dict[str, str]:
    """Clip -> class name."""
    records = [record for split in store.splits() for record in store.read_manifest(split)]
    return {record.stem: getattr(record, label) for record in records}


def scores(answers: dict[str, str], labels: dict[str, str]) -> np.ndarray:
    """``SCORES`` of one run, percent."""
    true = [labels[clip] for clip in answers]
    given = list(answers.values())
    return 100 * np.array(
        [
            accuracy_score(true, given),
            recall_score(true, given, average="macro", zero_division=0),
            f1_score(true, given, average="macro", zero_division=0),
            f1_score(true, given, average="weighted", zero_division=0),
        ]
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("answers", type=Path)
    parser.add_argument("--features_dir", type=Path, required=True)
    parser.add_argument("--label", choices=("integrated", "face", "speech"), default="integrated")
    options = parser.parse_args()
    labels = read_labels(FeatureStore(options.features_dir), options.label)
    print(f"| run | clips | {' | '.join(SCORES)} |\n|{'---|' * (len(SCORES) + 2)}")
    rows = []
    for run, answers in sorted(read_answers(options.answers).items()):
        rows.append(scores(answers, labels))
        cells = " | ".join(f"{value:.1f}" for value in rows[-1])
        print(f"| {run} | {len(answers)} | {cells} |")
    spread = np.std(rows, axis=0, ddof=1) if len(rows) > 1 else np.zeros(len(SCORES))
    pairs = zip(np.mean(rows, axis=0), spread, strict=True)
    print(f"| mean | | {' | '.join(f'{mean:.1f} ± {sd:.1f}' for mean, sd in pairs)} |")


if __name__ == "__main__":
    main()
