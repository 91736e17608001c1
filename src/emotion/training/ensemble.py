"""What several runs answer together, from the answers each of them has written down."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emotion.data.examples import TARGETS
from emotion.errors import UserError, first_line
from emotion.files import read_csv
from emotion.metrics import join, score

LEAST = 1e-7  # a probability of six decimals may be 0


class Answers(NamedTuple):
    """A ``predictions_*.csv``."""

    clips: list[str]
    labels: list[str]
    class_names: tuple[str, ...]
    probabilities: np.ndarray  # (clips, classes)


def ensemble_scores(runs: list[Path], target: str) -> dict[str, Any]:
    """``valid`` and ``test``: scores of the mean of the runs' probabilities (the soft vote).

    Args:
        runs: folders of finished runs.
        target: the label that counts: integrated, face or speech.

    Returns:
        Only the parts whose clips are the same in all runs: where every run has a validating fold
        of its own, test alone.
    """
    scores = {}
    for part in ("valid", "test"):
        paths = [run / f"predictions_{part}.csv" for run in runs]
        if not all(path.is_file() for path in paths):
            continue
        answers = [read_answers(path, target) for path in paths]
        if all(one.clips == answers[0].clips for one in answers):
            scores[part] = _score(answers)
    return scores


def read_answers(path: Path, target: str) -> Answers:
    """The answers of one run."""
    heading, rows = read_csv(path, "train the run again")
    first = 1 + len(TARGETS) + 1  # clip, labels, prediction, then one column per class
    names = heading[first:]
    try:
        return Answers(
            [row["clip"] for row in rows],
            [row[target] for row in rows],
            tuple(names),
            np.array([[float(row[name]) for name in names] for row in rows]),
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: damaged ({first_line(error)}); train the run again") from None


def _score(answers: list[Answers]) -> dict[str, Any]:
    _, labels, class_names, _ = answers[0]
    mean = join(np.stack([one.probabilities for one in answers]))
    known = [class_names.index(label) if label else -1 for label in labels]
    return score(np.log(mean.clip(min=LEAST)), np.array(known), class_names)
