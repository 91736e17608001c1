"""How far answers can be trusted: by speaker and by sex, by class, and where some stay open."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion.metrics import calibration_error
from emotion.prediction.scores import System

COVERAGES = np.arange(1, 21) / 20  # at which risk is told
GROUPED = ("clips", "accuracy", "unweighted_average_recall", "intervals", "drawn", "units")
RESAMPLES = 1000  # behind an interval of a group


def by_group(
    system: System, groups: Sequence[str], class_names: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Scores of the answered clips of each group, with intervals and the recall of each class;
    nothing where fewer than two groups are known.

    Args:
        system: the answers.
        groups: (clips,) a name each, such as the speaker's; empty where nobody knows.
        class_names: in index order.
    """
    named = np.asarray(groups)
    found = {}
    for name in sorted(set(named[system.answered].tolist()) - {""}):
        own = named == name
        part = System(name, system.probabilities[own], system.labels[own], system.speakers[own])
        scores = part.score(class_names, RESAMPLES)
        recall = {k: row["recall"] for k, row in scores["per_class"].items() if row["clips"]}
        found[name] = {key: scores[key] for key in GROUPED} | {"recall": recall}
    return found if len(found) > 1 else {}


def calibration_by_class(
    system: System, class_names: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Of the answers of each class: how many, their mean confidence, the share that is right, and
    the expected error of the confidence.
    """
    probabilities, labels = _known(system)
    answers = probabilities.argmax(axis=1)
    found = {}
    for number, name in enumerate(class_names):
        own = answers == number
        if own.any():
            found[name] = {
                "answers": int(own.sum()),
                "confidence": float(probabilities[own, number].mean()),
                "right": float((labels[own] == number).mean()),
                "calibration_error": calibration_error(probabilities[own], labels[own]),
            }
    return found


def risk_by_coverage(system: System) -> dict[str, Any]:
    """What accuracy would be were only the surest answers given.

    Returns:
        ``points``: share of the clips that are answered, confidence of the last of them, and
        accuracy; ``area``: mean error over all coverages (AURC, Geifman et al. 2019).
    """
    probabilities, labels = _known(system)
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(axis=1) == labels)[order]
    accuracy = np.cumsum(right) / np.arange(1, len(right) + 1)
    counts = np.unique(np.ceil(COVERAGES * len(right)).astype(int))
    return {
        "points": [
            {
                "coverage": float(count / len(right)),
                "confidence": float(confidence[order][count - 1]),
                "accuracy": float(accuracy[count - 1]),
            }
            for count in counts
        ],
        "area": float((1 - accuracy).mean()),
    }


def _known(system: System) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of the answered clips."""
    return system.probabilities[system.answered], system.labels[system.answered]
