"""Scores against cases worked out by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from emotion.metrics import SCALARS, calibration_error, score

NAMES = ("a", "b", "c")


def logits_of(answers, n_classes=3, confidence=5.0):
    return confidence * np.eye(n_classes)[answers]


def test_a_case_by_hand():
    """Class a: 2 of 3 right, b: 1 of 2, c: the only one wrong; each answer with logit 1."""
    labels = np.array([0, 0, 0, 1, 1, 2])
    answers = np.array([0, 0, 1, 1, 0, 0])
    scores = score(logits_of(answers, confidence=1.0), labels, NAMES)
    assert scores["accuracy"] == pytest.approx(3 / 6)
    assert scores["unweighted_average_recall"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # precision: a 2/4, b 1/2, c none answered; F1: a 4/7, b 1/2, c 0
    assert scores["macro_f1"] == pytest.approx((4 / 7 + 1 / 2 + 0) / 3)
    assert scores["weighted_f1"] == pytest.approx((3 * 4 / 7 + 2 * 1 / 2 + 0) / 6)
    assert scores["confusion"] == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    right, wrong = math.log(math.e + 2) - 1, math.log(math.e + 2)
    assert scores["loss"] == pytest.approx((3 * right + 3 * wrong) / 6)
    confidence = math.e / (math.e + 2)
    assert scores["calibration_error"] == pytest.approx(abs(0.5 - confidence))
    assert scores["per_class"]["a"] == pytest.approx(
        {"precision": 0.5, "recall": 2 / 3, "f1": 4 / 7, "clips": 3}
    )
    assert scores["clips"] == 6


def test_scores_equal_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    logits = rng.standard_normal((200, 3)) + 1.5 * np.eye(3)[labels]
    answers = logits.argmax(1)
    scores = score(logits, labels, NAMES)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = {
        "loss": sklearn_metrics.log_loss(labels, probabilities),
        "accuracy": sklearn_metrics.accuracy_score(labels, answers),
        "unweighted_average_recall": sklearn_metrics.balanced_accuracy_score(labels, answers),
        "macro_f1": sklearn_metrics.f1_score(labels, answers, average="macro"),
        "weighted_f1": sklearn_metrics.f1_score(labels, answers, average="weighted"),
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    assert scores["confusion"] == sklearn_metrics.confusion_matrix(labels, answers).tolist()


def test_a_class_without_clips_counts_in_no_mean_but_stays_in_the_confusion():
    labels, answers = np.array([0, 0, 1]), np.array([0, 1, 1])
    scores = score(logits_of(answers), labels, NAMES)
    assert scores["unweighted_average_recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert np.array(scores["confusion"]).shape == (3, 3)
    assert scores["per_class"]["c"]["clips"] == 0
    assert scores["macro_f1"] == pytest.approx(2 / 3)


def test_clips_without_a_label_do_not_count():
    labels, answers = np.array([0, -1, 1]), np.array([0, 1, 1])
    scores = score(logits_of(answers), labels, NAMES)
    assert scores["accuracy"] == 1.0
    assert scores["clips"] == 2


def test_no_clips_are_nan_and_not_a_crash():
    scores = score(np.zeros((2, 3), np.float32), np.array([-1, -1]), NAMES)
    assert all(math.isnan(scores[name]) for name in SCALARS)
    assert scores["clips"] == 0


def test_a_diverged_model_scores_nan_and_not_a_crash():
    logits = np.array([[np.nan] * 3, [1.0, 0.0, 0.0]], np.float32)
    scores = score(logits, np.array([1, 0]), NAMES)
    assert math.isnan(scores["loss"])
    assert math.isnan(scores["calibration_error"])


def test_loss_of_large_float16_like_logits_is_finite():
    scores = score(np.array([[6e4, 0, 0]], np.float32), np.array([1]), NAMES)
    assert scores["loss"] == pytest.approx(6e4)


def test_scores_are_plain_floats_that_json_and_checkpoints_take():
    scores = score(logits_of(np.array([0, 1])), np.array([0, 1]), NAMES)
    assert {type(scores[name]) for name in SCALARS} == {float}


def test_calibration_error_by_hand():
    """Bins of 1/15: 0.62 and 0.65 share one (accuracy 1/2), 0.95 has its own (accuracy 1)."""
    probabilities = np.array([[0.62, 0.38], [0.35, 0.65], [0.95, 0.05], [0.95, 0.05]])
    labels = np.array([0, 0, 0, 0])
    expected = (2 * abs(0.5 - 0.635) + 2 * abs(1 - 0.95)) / 4
    assert calibration_error(probabilities, labels) == pytest.approx(expected)


def test_calibration_error_of_certainty():
    certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert calibration_error(certain, np.array([0, 0])) == 0.0
    assert calibration_error(certain, np.array([1, 1])) == 1.0
