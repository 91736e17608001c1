"""Pictures of a run."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from emotion.emotions import colours, full_names
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


def draw_confusion(confusion: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Counts (classes, classes), rows the true classes, shaded by share of the row; right answers
    are framed, and each class has its emotion's colour and full name beside it.
    """
    clips = confusion.sum(axis=1)
    shares = confusion / np.maximum(clips[:, None], 1)
    side = 2.2 + 0.72 * len(class_names)
    figure = Figure(figsize=(side + 0.4, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Greys", vmin=0, vmax=1.2)  # colours are the emotions' own
    for row, column in np.ndindex(*confusion.shape):
        _write_cell(axis, row, column, confusion[row, column], shares[row, column])
    names = full_names(class_names)
    counted = [f"{name}\n{number} clips" for name, number in zip(names, clips, strict=True)]
    axis.set_xticks(
        range(len(names)), names, rotation=40, ha="right", va="top", rotation_mode="anchor"
    )
    axis.set_yticks(range(len(names)), counted)
    axis.tick_params(length=0, pad=14)
    axis.set_xlabel("answered")
    axis.set_ylabel("labelled")
    _mark_classes(axis, class_names)
    save(figure, path)


def _write_cell(axis: Axes, row: int, column: int, count: int, share: float) -> None:
    """Share and count, the right answers in bold; nothing where there is none."""
    if row == column:
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, lw=1.4, zorder=3))
    if not count:
        return
    colour = "white" if share > 0.55 else "black"
    told = {"ha": "center", "color": colour}
    weight = "bold" if row == column else "normal"
    axis.text(column, row, f"{100 * share:.0f} %", va="bottom", fontsize=10, weight=weight, **told)
    axis.text(column, row + 0.06, f"{count}", va="top", fontsize=8, **told)


def _mark_classes(axis: Axes, class_names: Sequence[str]) -> None:
    """A strip of each class's colour along both axes."""
    across, down = axis.get_xaxis_transform(), axis.get_yaxis_transform()
    wide = 0.1 / len(class_names)  # of an axis: as wide in pixels on both
    for place, colour in enumerate(colours(class_names)):
        look = {"facecolor": colour, "edgecolor": "0.4", "linewidth": 0.4, "clip_on": False}
        below, beside = (place - 0.45, -1.3 * wide), (-1.3 * wide, place - 0.45)
        axis.add_patch(Rectangle(below, 0.9, wide, transform=across, **look))
        axis.add_patch(Rectangle(beside, wide, 0.9, transform=down, **look))


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    add_caption(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))
