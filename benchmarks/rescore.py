"""Scores of stored answers: what benchmarks/results/ holds, against the labels you have.

    python benchmarks/rescore.py benchmarks/results/ravdess_speech.csv --features_dir DIR
    python benchmarks/rescore.py answers.csv --features_dir DIR --runs logs/speech/ravdess

The file has a row an answer, ``run,clip,prediction`` and perhaps a probability a class; ``--runs``
writes it first, from the test answers of an experiment of several runs. Labels come from the
manifests of the features folder, so that no corpus lies in the repository.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from sklearn.metrics import accuracy_score, f1_score, recall_score

from emotion import command_line
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.prediction.scores import Cells, bootstrap_intervals, drawn_units

SCORES = ("WA", "UA", "macro F1", "weighted F1")


class Answers(NamedTuple):
    """What one run says of each clip."""

    predictions: dict[str, str]  # clip -> class name
    probabilities: dict[str, np.ndarray]  # clip -> (classes,); empty where they were not stored


def read_answers(path: Path) -> tuple[dict[str, Answers], tuple[str, ...]]:
    """Run -> answers, and the class names of the probabilities."""
    runs: dict[str, Answers] = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        _, _, _, *class_names = next(rows)
        for run, clip, prediction, *values in rows:
            answers = runs.setdefault(run, Answers({}, {}))
            answers.predictions[clip] = prediction
            if values:
                answers.probabilities[clip] = np.array(values, float)
    return runs, tuple(class_names)


def together(runs: dict[str, Answers], class_names: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """What the runs that answer the same clips are called -> what the mean of their probabilities
    says.
    """
    groups: dict[frozenset[str], list[str]] = {}
    for run, answers in sorted(runs.items()):
        if answers.probabilities:
            groups.setdefault(frozenset(answers.probabilities), []).append(run)
    votes = {}
    for clips, names in groups.items():
        if len(names) > 1:
            every = [runs[name].probabilities for name in names]
            votes[f"{names[0]} and {len(names) - 1} more"] = {
                clip: class_names[np.mean([one[clip] for one in every], axis=0).argmax()]
                for clip in sorted(clips)
            }
    return votes


def read_labels(store: FeatureStore, label: str) -> dict[str, str]:
    """Clip -> class name, or another column of the manifest such as the speaker; of a name that
    several splits use (MELD's do) the test split's, as the answers are of test clips.
    """
    splits = sorted(store.splits(), key=lambda split: split == "test")
    records = [record for split in splits for record in store.read_manifest(split)]
    return {record.stem: getattr(record, label) for record in records}


def scores(predictions: dict[str, str], labels: dict[str, str]) -> np.ndarray:
    """``SCORES`` of one run, percent.

    Raises:
        UserError: an answer is of a clip without a label.
    """
    if unknown := predictions.keys() - labels.keys():
        raise UserError(
            f"{len(unknown)} of {len(predictions)} answers are of clips that the features folder "
            f"has no label for (such as {min(unknown)}): name the one of the same corpus"
        )
    true = [labels[clip] for clip in predictions]
    given = list(predictions.values())
    return 100 * np.array(
        [
            accuracy_score(true, given),
            recall_score(true, given, average="macro", zero_division=0),
            f1_score(true, given, average="macro", zero_division=0),
            f1_score(true, given, average="weighted", zero_division=0),
        ]
    )


def print_table(heading: str, answers: dict[str, dict[str, str]], labels: dict[str, str]) -> None:
    """Scores a row, then their mean and standard deviation."""
    rows = {name: scores(predictions, labels) for name, predictions in sorted(answers.items())}
    print(f"| {heading} | clips | {' | '.join(SCORES)} |\n|{'---|' * (len(SCORES) + 2)}")
    for name, row in rows.items():
        cells = " | ".join(f"{value:.1f}" for value in row)
        print(f"| {name} | {len(answers[name])} | {cells} |")
    every = list(rows.values())
    spread = np.std(every, axis=0, ddof=1) if len(every) > 1 else np.zeros(len(SCORES))
    pairs = zip(np.mean(every, axis=0), spread, strict=True)
    print(f"| mean | | {' | '.join(f'{mean:.1f} ± {sd:.1f}' for mean, sd in pairs)} |")


def print_intervals(
    votes: dict[str, dict[str, str]], labels: dict[str, str], speakers: dict[str, str]
) -> None:
    """95 % intervals of all clips of all folds at once, drawn by speaker and by clip."""
    predictions = {clip: answer for one in votes.values() for clip, answer in one.items()}
    clips = sorted(predictions)
    names = sorted(set(labels.values()) - {""})
    rows = [np.array([names.index(of[clip]) for clip in clips]) for of in (labels, predictions)]
    unit, drawn = drawn_units(np.array([speakers[clip] for clip in clips]))
    for what, units in {drawn: unit, "clips": np.arange(len(clips))}.items():
        cells = Cells(*rows, units, len(names))
        low, high = bootstrap_intervals(cells, 10_000)["unweighted_average_recall"]
        shown = f"[{100 * low:.1f}, {100 * high:.1f}]"
        print(f"UA of {len(clips)} clips, 95 % interval over {units.max() + 1} {what}: {shown}")


def store_answers(runs: Path, path: Path) -> None:
    """Write the test answers of the runs below a folder; probabilities to three decimals."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, answers in enumerate(sorted(runs.glob("*/predictions_test.csv"))):
            with answers.open(newline="", encoding="utf-8") as source:
                heading, *rows = csv.reader(source)
            first = heading.index("prediction")
            if number == 0:
                writer.writerow(["run", "clip", *heading[first:]])
            for row in rows:
                values = [f"{float(value):.3f}" for value in row[first + 1 :]]
                writer.writerow([answers.parent.name, row[0], row[first], *values])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("answers", type=Path)
    parser.add_argument("--features_dir", type=Path, required=True)
    parser.add_argument("--runs", type=Path, help="an experiment's folder: writes the file first")
    parser.add_argument("--label", choices=("integrated", "face", "speech"), default="integrated")
    options = parser.parse_args()
    if options.runs:
        store_answers(options.runs, options.answers)
    store = FeatureStore(options.features_dir)
    labels = read_labels(store, options.label)
    runs, class_names = read_answers(options.answers)
    print_table("run", {name: run.predictions for name, run in runs.items()}, labels)
    if votes := together(runs, class_names):
        print()
        print_table("answering together", votes, labels)
        print()
        print_intervals(votes, labels, read_labels(store, "speaker"))


if __name__ == "__main__":
    command_line.run(main)
