"""Scores with intervals, reliability, and tests between systems."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap, permutation_test

from emotion.metrics import CALIBRATION_BINS, score

INTERVALS = ("accuracy", "unweighted_average_recall", "macro_f1", "weighted_f1")
BATCH_ELEMENTS = 20_000_000  # of the resampled index, held at once
RESAMPLES = 9999  # sign flips; where there are fewer in all, every one of them


class System(NamedTuple):
    """What one model, or the ensemble, answers to a set of labelled clips."""

    name: str
    probabilities: np.ndarray  # (clips, classes), NaN where there is no answer
    labels: np.ndarray  # (clips,) class indices
    speakers: np.ndarray  # (clips,) names; empty where nobody knows

    @property
    def answered(self) -> np.ndarray:
        """(clips,) bool."""
        return np.isfinite(self.probabilities).all(axis=1)

    @property
    def answers(self) -> np.ndarray:
        """(clips,) class indices; what stands where there is no answer means nothing."""
        return np.nan_to_num(self.probabilities).argmax(axis=1)

    def score(self, class_names: tuple[str, ...], resamples: int) -> dict[str, Any]:
        """``emotion.metrics.score`` of the answered clips, with ``intervals`` and ``unanswered``.

        ``drawn`` is what the intervals draw, speakers or clips, and ``units`` how many there are.
        """
        known = self.answered
        logits = np.log(np.maximum(self.probabilities[known], 1e-300))
        labels = self.labels[known]
        unit, drawn = drawn_units(self.speakers[known])
        cells = Cells(labels, self.answers[known], unit, len(class_names))
        return score(logits, labels, class_names) | {
            "intervals": bootstrap_intervals(cells, resamples),
            "drawn": drawn,
            "units": len(np.unique(unit)),
            "unanswered": int((~known).sum()),
        }


def confusion_scores(confusion: np.ndarray) -> np.ndarray:
    """WA, UA, macro-F1 and weighted F1 of confusion matrices (..., classes, classes): (4, ...).

    As ``emotion.metrics.score``: UA over the classes that occur, macro-F1 over those that occur
    or are answered.
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


def chance(labels: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """What comes of answering the commonest class to every clip, in the scores of ``INTERVALS``
    (its UA, one over the number of classes, is that of guessing); ``answer`` names it.

    Args:
        labels: (clips,) class indices; nothing comes of no clips.
        class_names: in index order.
    """
    if not len(labels):
        return {}
    clips = np.bincount(labels, minlength=len(class_names))
    confusion = np.zeros((len(clips), len(clips)))
    confusion[:, clips.argmax()] = clips
    scores = dict(zip(INTERVALS, confusion_scores(confusion).tolist(), strict=True))
    return {"answer": class_names[clips.argmax()], "classes": int((clips > 0).sum())} | scores


class Cells(NamedTuple):
    """Answers to labelled clips, and what is drawn together when they are resampled."""

    labels: np.ndarray  # (clips,) class indices
    answers: np.ndarray  # (clips,) class indices
    unit: np.ndarray  # (clips,) number of the speaker, or of the clip itself
    n_classes: int

    def confusions(self) -> np.ndarray:
        """A confusion matrix a unit, (units, classes * classes) counts."""
        counts = np.zeros((self.unit.max() + 1, self.n_classes**2))
        np.add.at(counts, (self.unit, self.labels * self.n_classes + self.answers), 1)
        return counts


def drawn_units(speakers: np.ndarray) -> tuple[np.ndarray, str]:
    """What a sample of clips was drawn by: speakers where each is known, else clips.

    Clips of one voice are right or wrong together. Drawn one by one they pass for more evidence
    than they are: on RAVDESS intervals come out half as wide as they should be.

    Returns:
        (clips,) the number of each clip's unit, and ``speakers`` or ``clips``.
    """
    names, unit = np.unique(speakers, return_inverse=True)
    if len(names) > 1 and "" not in names:
        return unit, "speakers"
    return np.arange(len(speakers)), "clips"


def bootstrap_intervals(
    cells: Cells, resamples: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of ``INTERVALS`` over units drawn with replacement.

    Returns:
        Name -> (low, high); NaN with fewer than two units.
    """
    if len(np.unique(cells.unit)) < 2:
        return dict.fromkeys(INTERVALS, (float("nan"), float("nan")))
    confusions, n_classes = cells.confusions(), cells.n_classes

    def statistic(drawn: np.ndarray, axis: int) -> np.ndarray:
        assert axis == -1
        rows = drawn.reshape(-1, drawn.shape[-1])
        offsets = np.arange(len(rows))[:, None] * len(confusions)
        times = np.bincount((rows + offsets).ravel(), minlength=len(rows) * len(confusions))
        counts = times.reshape(len(rows), -1) @ confusions
        return confusion_scores(counts.reshape(*drawn.shape[:-1], n_classes, n_classes))

    interval = bootstrap(
        (np.arange(len(confusions)),),
        statistic,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, BATCH_ELEMENTS // len(confusions)),
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
    """A paired test of each two systems on the clips that both answered; nothing of two that share
    no clips, or say the same of those they share, as a mean and the one model that it is of.

    The difference in UA is a sum over speakers (clips, where speakers are not known), and between
    equals each speaker's part of it might as well have had the other sign: the test flips signs
    (Fisher's randomisation test). ``p_holm`` allows for the number of pairs (Holm 1979).
    """
    pairs = [pair for pair in combinations(systems, 2) if _differ(*pair)]
    rows = [_sign_flips(first, second) for first, second in pairs]
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    return rows


def _differ(first: System, second: System) -> bool:
    both = first.answered & second.answered
    return not np.array_equal(first.probabilities[both], second.probabilities[both])


def _sign_flips(first: System, second: System) -> dict[str, Any]:
    both = first.answered & second.answered
    labels = first.labels[both]
    unit, drawn = drawn_units(first.speakers[both])
    shares = _recall_shares(labels)
    parts = [
        np.bincount(unit, shares * (system.answers[both] == labels)) for system in (first, second)
    ]
    return {
        "first": first.name,
        "second": second.name,
        "clips": int(both.sum()),
        "drawn": drawn,
        "units": len(parts[0]),
        "difference": float(parts[0].sum() - parts[1].sum()),
        "p": _flip_test(*parts),
    }


def _recall_shares(labels: np.ndarray) -> np.ndarray:
    """What a right answer to each clip adds to the UA: (clips,)."""
    clips = np.bincount(labels)
    return 1 / (clips[labels] * np.count_nonzero(clips)) if len(labels) else np.zeros(0)


def _flip_test(first: np.ndarray, second: np.ndarray) -> float:
    differ = np.abs(first - second) > 1e-12
    if differ.sum() < 2:  # one speaker alone says nothing of another
        return 1.0
    return float(
        permutation_test(
            (first[differ], second[differ]),
            lambda a, b, axis: (a - b).sum(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, BATCH_ELEMENTS // int(differ.sum())),
            rng=np.random.default_rng(0),
        ).pvalue
    )


def holm(values: Sequence[float]) -> list[float]:
    """P-values of several tests at once: the smallest times their number, and so on upwards."""
    order = np.argsort(values)
    factors = len(values) - np.arange(len(values))
    corrected = np.empty(len(values))
    corrected[order] = np.maximum.accumulate(np.asarray(values)[order] * factors).clip(max=1.0)
    return corrected.tolist()
