"""Pictures of a run."""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from emotion.files import write_atomic
from emotion.models.caption import add_caption

mpl.rcParams["font.size"] = 9
mpl.rcParams["text.parse_math"] = False  # a class or a file may be called $x$
CURVES = ("epoch", "train_loss", "valid_loss", "valid_acc", "valid_ua")  # of metrics.csv


def draw_curves(history: list[dict[str, Any]], best: int, path: Path) -> None:
    """Losses, and accuracy with unweighted average recall, by epoch; ``best`` is marked."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for name in ("train_loss", "valid_loss"):
        left.plot(epochs, [row[name] for row in history], label=name.replace("_", " "))
    for axis in (left, right):
        axis.axvline(best, color="0.8", zorder=0)
        axis.set_xlabel("epoch (grey: best)")
    names = {"valid_acc": "accuracy (WA)", "valid_ua": "unweighted average recall (UA)"}
    for name, label in names.items():
        right.plot(epochs, [row[name] for row in history], label=label)
    left.set_ylabel("cross-entropy, nats")
    right.set_ylabel("validation")
    right.set_ylim(0, 1)
    left.legend()
    right.legend()
    save(figure, path)


def draw_confusion(confusion: np.ndarray, class_names: tuple[str, ...], path: Path) -> None:
    """Counts (classes, classes), rows the true classes, shaded by share of the row."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.55 * len(class_names)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axis = figure.subplots()
    picture = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*confusion.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text = f"{confusion[row, column]}\n{100 * shares[row, column]:.0f} %"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    axis.set_xticks(range(len(class_names)), class_names, rotation=45, ha="right")
    axis.set_yticks(range(len(class_names)), class_names)
    axis.set_xlabel("answer")
    axis.set_ylabel("label")
    figure.colorbar(picture, label="share of the label's clips")
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    add_caption(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))
