"""Scores over a whole set of clips, by scikit-learn; never a mean of batch means."""

from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

CALIBRATION_BINS = 15  # of equal width, as Guo et al. 2017, arXiv 1706.04599


def join(probabilities: np.ndarray) -> np.ndarray:
    """The mean answer of an ensemble: (models, ..., classes) to (..., classes).

    NaN where a model has no answer, which is then left out.
    """
    answered = np.isfinite(probabilities)
    count = answered.sum(axis=0)
    joined = np.where(answered, probabilities, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(count == 0, np.nan, joined)


def score(logits: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
    """All scores of one set of answers.

    Args:
        logits: (clips, classes).
        labels: (clips,) class indices, -1 for clips that do not count.
        class_names: in index order.

    Returns:
        ``loss`` (mean cross-entropy, nats), ``accuracy`` (WA), ``unweighted_average_recall`` (UA:
        the mean over the classes that occur), ``macro_f1``, ``weighted_f1``, ``calibration_error``
        (expected, 15 bins), ``clips``, ``confusion`` (rows are true classes) and ``per_class``.
        Scores of no clips at all are NaN.
    """
    known = labels >= 0
    logits, labels = logits[known].astype(np.float64), labels[known]
    if len(labels) == 0:
        return {
            **dict.fromkeys(SCALARS, float("nan")),
            "clips": 0,
            "confusion": [],
            "per_class": {},
        }
    answers = logits.argmax(axis=1)
    classes = np.arange(len(class_names))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, answers, labels=classes, zero_division=0
    )
    rows = zip(class_names, precision, recall, f1, support, strict=True)
    return {
        "loss": float(np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels])),
        "accuracy": float(accuracy_score(labels, answers)),
        "unweighted_average_recall": float(recall[support > 0].mean()),
        "macro_f1": float(f1_score(labels, answers, average="macro", zero_division=0)),
        "weighted_f1": float(f1_score(labels, answers, average="weighted", zero_division=0)),
        "calibration_error": calibration_error(softmax(logits, axis=1), labels),
        "clips": len(labels),
        "confusion": confusion_matrix(labels, answers, labels=classes).tolist(),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "clips": int(n)}
            for name, p, r, f, n in rows
        },
    }


SCALARS = (
    "loss",
    "accuracy",
    "unweighted_average_recall",
    "macro_f1",
    "weighted_f1",
    "calibration_error",
)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: |accuracy - confidence| by bins of confidence, weighted by clips.

    Args:
        probabilities: (clips, classes).
        labels: (clips,) class indices.

    Returns:
        NaN where a probability is: a model that has diverged has no confidence.
    """
    confidence = probabilities.max(axis=1)
    if not np.isfinite(confidence).all():
        return float("nan")
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, correct - confidence, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels))
