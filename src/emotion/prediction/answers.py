"""Answers to files: the table that is handed in."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from emotion.prediction.abstain import Threshold, left_open
from emotion.prediction.predictor import Answer, present
from emotion.prediction.reading import Reading
from emotion.prediction.tables import write_table


def write_answers(
    path: Path,
    answers: Iterable[Answer],
    class_names: Sequence[str],
    readings: Sequence[Reading],
    *,
    probabilities: bool,
    threshold: Threshold | None = None,
    notice: str = "",
) -> None:
    """``FileID,Emotion``, where asked one column per class, and the ``modalities`` it rests on.

    A clip without an answer has its row, empty after the FileID; one whose answer is below the
    ``threshold`` is left open. A ``notice`` is one more column: a table goes from hand to hand
    without what was said beside it.
    """
    further = {"notice": notice} if notice else {}
    header = ["FileID", "Emotion", *(class_names if probabilities else ()), "modalities", *further]
    rows = []
    for answer in answers:
        told = answer.given and not left_open(answer.probabilities, threshold)
        emotion = class_names[answer.probabilities.argmax()] if told else ""
        numbers = shown(answer.probabilities) if probabilities else []
        there = present(answer.record, readings) if answer.given else []
        rows.append([answer.item.clip.id, emotion, *numbers, " ".join(there), *further.values()])
    write_table(path, header, rows)


def shown(probabilities: np.ndarray) -> list[str]:
    """Probabilities to eight digits; empty where there are none."""
    return ["" if np.isnan(value) else f"{value:.8f}" for value in probabilities]
