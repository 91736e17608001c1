"""Answers that a model is not sure of are left open: ``--abstain``.

The confidence below which a row stays open is chosen on clips that chose the models' epochs, where
their answers lie beside the checkpoints: the lowest one above which answers are right at the wanted
rate (selective classification, Geifman & El-Yaniv 2017, arXiv 1705.08500). What comes out on other
clips may be less, and is reported.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from emotion.errors import UserError
from emotion.files import read_csv, read_json
from emotion.metrics import join
from emotion.prediction.members import Member

FEWEST = 10  # validation clips above a threshold: the accuracy of fewer is a matter of luck
ANSWERS = "predictions_valid.csv"


class Threshold(NamedTuple):
    """A lowest confidence, and what came out on the clips that it was chosen on."""

    wanted: float  # accuracy of the answers that are given
    confidence: float
    clips: int
    accuracy: float
    coverage: float  # share of the clips that are answered


def choose_threshold(
    wanted: float, members: Sequence[Member], label: str, among: Sequence[int] | None = None
) -> Threshold:
    """The lowest confidence above which the models' answers to validation clips are as good as is
    wanted.

    Args:
        wanted: accuracy.
        members: the models.
        label: which label counts.
        among: indices of the classes to answer with; all without.

    Raises:
        UserError: a model's answers to its validation clips are not there, or never that good.
    """
    confidence, right = _validation_answers(members, label, among)
    order = np.argsort(-confidence, kind="stable")
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last = np.append(np.diff(confidence[order]) < 0, True)  # equal ones are answered together
    enough = np.arange(1, len(order) + 1) >= min(FEWEST, len(order))
    good = np.flatnonzero((accuracy >= wanted) & last & enough)
    if not good.size:
        raise UserError(
            f"--abstain {wanted:g}: on {len(order)} validation clips no threshold gives that, the "
            f"best gives {accuracy[last & enough].max():.3f}; ask for less"
        )
    row = good[-1]
    return Threshold(
        wanted,
        float(confidence[order][row]),
        len(order),
        float(accuracy[row]),
        float((row + 1) / len(order)),
    )


def left_open(probabilities: np.ndarray, threshold: Threshold | None) -> bool:
    """Whether an answer (classes,) is below the threshold; never without one."""
    return threshold is not None and bool(probabilities.max() < threshold.confidence)


def outcome(threshold: Threshold, probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """What the threshold does on answered clips (clips, classes) with labels (clips,)."""
    sure = probabilities.max(axis=1) >= threshold.confidence
    right = probabilities.argmax(axis=1) == labels
    return {
        "threshold": threshold._asdict(),
        "clips": int(sure.sum()),
        "coverage": float(sure.mean()),
        "accuracy": float(right[sure].mean()) if sure.any() else float("nan"),
    }


def _validation_answers(
    members: Sequence[Member], label: str, among: Sequence[int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and whether it is right, of each clip that validated any of the models: those
    that it validated answer it together.
    """
    answers: dict[str, list[np.ndarray]] = {}
    labels: dict[str, int] = {}
    asked = range(len(members[0].checkpoint.class_names)) if among is None else among
    for member in members:
        for clip, target, logits in _read(member, label):
            if target in asked:
                chosen = softmax(logits[list(asked)] / member.temperature)
                answers.setdefault(clip, []).append(chosen)
                labels[clip] = list(asked).index(target)
    if not answers:
        raise UserError("--abstain: none of the validation clips has a class that is asked about")
    together = np.stack([join(np.stack(own)) for own in answers.values()])
    right = together.argmax(axis=1) == np.array([labels[clip] for clip in answers])
    return together.max(axis=1), right


def _read(member: Member, label: str) -> list[tuple[str, int, np.ndarray]]:
    """Clip, label and logits of a model's labelled validation clips."""
    checkpoint = member.checkpoint
    path = checkpoint.path.parent / ANSWERS
    mend = "--abstain wants what train.py wrote beside the best checkpoint; give the run folder"
    best = read_json(checkpoint.path.parent / "result.json", mend, lambda r: r["best_checkpoint"])
    if Path(best).name != checkpoint.path.name:
        raise UserError(f"{checkpoint.path}: is not the run's best checkpoint; {mend}")
    heading, rows = read_csv(path, mend)
    names = checkpoint.class_names
    if not {"clip", label, *names} <= set(heading):
        raise UserError(f"{path}: has no columns of the model's classes; {mend}")
    try:
        return [_row(row, names, label) for row in rows if row[label] in names]
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); {mend}") from None


def _row(row: dict[str, str], names: Sequence[str], label: str) -> tuple[str, int, np.ndarray]:
    logits = np.log(np.maximum([float(row[name]) for name in names], 1e-12))
    return row["clip"], names.index(row[label]), logits
