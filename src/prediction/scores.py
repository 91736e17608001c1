"""Scores with intervals, reliability, and tests between systems."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest, bootstrap

from src.metrics import CALIBRATION_BINS, score

INTERVALS = ("accuracy", "unweighted_average_recall", "macro_f1", "weighted_f1")
BATCH_ELEMENTS = 20_000_000  # of the resampled index, held at once


class System(NamedTuple):
    """What one model, or the ensemble, answers to a set of labelled clips."""

    name: str
    probabilities: np.ndarray  # (clips, classes), NaN where there is no answer
    labels: np.ndarray  # (clips,) class indices

    @property
    def answered(self) -> np.ndarray:
        """(clips,) bool."""
        return np.isfinite(self.probabilities).all(axis=1)

    @property
    def answers(self) -> np.ndarray:
        """(clips,) class indices; what stands where there is no answer means nothing."""
        return np.nan_to_num(self.probabilities).argmax(axis=1)

    def score(self, class_names: tuple[str, ...], resamples: int) -> dict[str, Any]:
        """``src.metrics.score`` of the answered clips, with ``intervals`` and ``unanswered``."""
        known = self.answered
        logits = np.log(np.maximum(self.probabilities[known], 1e-300))
        labels = self.labels[known]
        intervals = bootstrap_intervals(labels, self.answers[known], len(class_names), resamples)
        return score(logits, labels, class_names) | {
            "intervals": intervals,
            "unanswered": int((~known).sum()),
        }


def confusion_scores(confusion: np.ndarray) -> np.ndarray:
    """WA, UA, macro-F1 and weighted F1 of confusion matrices (..., classes, classes): (4, ...).

    As ``src.metrics.score``: UA over the classes that occur, macro-F1 over those that occur or are
    answered.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    actual, answered = confusion.sum(axis=-1), confusion.sum(axis=-2)
    total = actual.sum(axis=-1)
    occurs, counts = actual > 0, actual + answered > 0
    recall = right / np.maximum(actual, 1)
    f1 = 2 * right / np.maximum(actual + answered, 1)
    return np.stack(
        [
            right.sum(axis=-1) / total,
            recall.sum(axis=-1) / occurs.sum(axis=-1),
            f1.sum(axis=-1) / counts.sum(axis=-1),
            (f1 * actual).sum(axis=-1) / total,
        ]
    )


def bootstrap_intervals(
    labels: np.ndarray, answers: np.ndarray, n_classes: int, resamples: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of ``INTERVALS`` over clips drawn with replacement.

    Args:
        labels: (clips,) class indices.
        answers: (clips,) class indices.
        n_classes: number of classes.
        resamples: draws.
        seed: of the draws.

    Returns:
        Name -> (low, high); NaN with fewer than two clips.
    """
    if len(labels) < 2:
        return dict.fromkeys(INTERVALS, (float("nan"), float("nan")))
    cells = labels * n_classes + answers

    def statistic(drawn: np.ndarray, axis: int) -> np.ndarray:
        assert axis == -1
        rows = drawn.reshape(-1, drawn.shape[-1])
        offsets = np.arange(len(rows))[:, None] * n_classes**2
        counts = np.bincount((rows + offsets).ravel(), minlength=len(rows) * n_classes**2)
        return confusion_scores(counts.reshape(*drawn.shape[:-1], n_classes, n_classes))

    interval = bootstrap(
        (cells,),
        statistic,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, BATCH_ELEMENTS // len(cells)),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    pairs = zip(interval.low.tolist(), interval.high.tolist(), strict=True)
    return dict(zip(INTERVALS, pairs, strict=True))


def reliability(system: System) -> list[dict[str, float]]:
    """Mean confidence, accuracy and clips of each bin of confidence that has clips."""
    known = system.answered
    confidence = system.probabilities[known].max(axis=1)
    right = system.answers[known] == system.labels[known]
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": float(right[bins == number].mean()),
            "clips": int((bins == number).sum()),
        }
        for number in np.unique(bins)
    ]


def compare(systems: Sequence[System]) -> list[dict[str, Any]]:
    """McNemar's exact test (1947) of each pair, on the clips that both answered."""
    return [_mcnemar(first, second) for first, second in combinations(systems, 2)]


def _mcnemar(first: System, second: System) -> dict[str, Any]:
    both = first.answered & second.answered
    right = [(system.answers == system.labels)[both] for system in (first, second)]
    only_first = int((right[0] & ~right[1]).sum())
    only_second = int((right[1] & ~right[0]).sum())
    differ = only_first + only_second
    return {
        "first": first.name,
        "second": second.name,
        "clips": int(both.sum()),
        "only_first_right": only_first,
        "only_second_right": only_second,
        "p": float(binomtest(only_first, differ).pvalue) if differ else 1.0,
    }
