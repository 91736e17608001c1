"""Pictures of how far answers can be trusted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from emotion.models.plots import save

UA = "unweighted_average_recall"
MARKED = "#d95f02"


def draw_scores(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """UA of each group or condition with its interval, one below the other."""
    names = list(rows)
    scores = np.array([row[UA] for row in rows.values()])
    ends = np.array([row["intervals"][UA] for row in rows.values()])
    figure = Figure(figsize=(7, 0.8 + 0.28 * len(names)), layout="constrained")
    axis = figure.subplots()
    place = np.arange(len(names))
    axis.hlines(place, ends[:, 0], ends[:, 1], color="0.6")
    axis.plot(scores, place, "o", color=MARKED)
    axis.set(xlim=(0, 1), xlabel="UA", ylim=(len(names) - 0.5, -0.5))
    axis.set_yticks(place, names)
    axis.grid(axis="x", color="0.9")
    save(figure, path)


def draw_risk(points: Sequence[dict[str, float]], abstain: dict[str, Any], path: Path) -> None:
    """Accuracy of the surest answers by how many these are, and where a threshold lies."""
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.plot([p["coverage"] for p in points], [p["accuracy"] for p in points], "o-", ms=3)
    if abstain:
        said = f"--abstain {abstain['threshold']['wanted']:g}"
        axis.plot(abstain["coverage"], abstain["accuracy"], "D", color=MARKED, label=said)
        axis.legend(loc="lower left")
    axis.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="share answered", ylabel="accuracy")
    axis.grid(color="0.9")
    save(figure, path)
