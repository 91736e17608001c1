"""What a run writes down: stdout lines, metrics.csv, TensorBoard events, pictures, result.json."""

import platform
import subprocess
import threading
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotion.errors import first_line
from emotion.files import write_csv, write_json
from emotion.models.caption import captioned
from emotion.models.plots import draw_confusion, draw_curves
from emotion.paths import HOME
from emotion.telling import note, say
from emotion.training.options import TrainOptions

PACKAGES = ("torch", "torchvision", "numpy", "efficientnet-pytorch", "albumentations")


class Logbook:
    """The files of one run folder; made by the main process only."""

    def __init__(self, folder: Path, n_epoch: int, resumed_from: int = 0) -> None:
        self.folder = folder
        self.n_epoch = n_epoch
        folder.mkdir(parents=True, exist_ok=True)
        threading.excepthook = _tell_of_thread
        self.writer = _event_writer(folder, resumed_from)

    def write_config(self, options: TrainOptions, resolved: dict[str, Any]) -> None:
        """``config.json``: flags, what they came to, revision, versions and hardware."""
        config = {
            "options": asdict(options),
            "resolved": resolved,
            "revision": _git_revision(),
            "versions": {"python": platform.python_version()}
            | {name: _version(name) for name in PACKAGES},
            "hardware": {
                "machine": platform.platform(),
                "cpus": torch.get_num_threads(),
                "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            },
        }
        write_json(self.folder / "config.json", config)

    def write_folds(self, folds: list[list[str]]) -> None:
        """``folds.json``: speakers of each fold, for --n_folds of other runs."""
        write_json(self.folder / "folds.json", {"folds": folds})

    def write_epoch(self, history: list[dict[str, Any]]) -> None:
        """One line on stdout, the whole of ``metrics.csv``, and TensorBoard's scalars."""
        row = history[-1]
        shown = " ".join(
            f"{name}: {value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{name}: {value:.2e}"
            for name, value in row.items()
            if name != "epoch" and np.isfinite(value)
        )
        say(f"Epoch [{row['epoch']}]/[{self.n_epoch}] {shown}")
        self._write_metrics(history)
        for name, value in row.items() if self.writer else ():
            self.writer.add_scalar(name, value, row["epoch"])

    def finish(
        self,
        history: list[dict[str, Any]],
        result: dict[str, Any],
        class_names: tuple[str, ...],
    ) -> None:
        """``result.json``, whose presence means done, then ``curves.png`` and ``confusion.png``:
        a picture that cannot be drawn costs a line.
        """
        self._write_metrics(history)  # a kill may have come between last.pth and its row
        write_json(self.folder / "result.json", result)
        if self.writer:
            self.writer.close()
        scored = result.get("test") or result["valid"]
        try:
            with captioned(result.get("notice", "")):
                draw_curves(history, result["best_epoch"], self.folder / "curves.png")
                confusion = np.array(scored["confusion"])
                draw_confusion(confusion, class_names, self.folder / "confusion.png")
        except Exception as error:  # whatever a plotting library makes of a name
            note(f"{self.folder}: a picture is missing ({first_line(error)})")

    def _write_metrics(self, history: list[dict[str, Any]]) -> None:
        columns = list(history[-1])
        rows = [[row.get(name, "") for name in columns] for row in history]
        write_csv(self.folder / "metrics.csv", columns, rows)


def _event_writer(folder: Path, resumed_from: int) -> Any:
    """TensorBoard's writer; None, and a line, where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        note(f"no TensorBoard events: {error}")
        return None
    return SummaryWriter(str(folder), purge_step=resumed_from or None)


def _version(package: str) -> str:
    """Of a package; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _tell_of_thread(error: threading.ExceptHookArgs) -> None:
    """TensorBoard writes from a thread of its own, whose traceback a full disk would print."""
    if issubclass(error.exc_type, OSError):
        note(f"no more TensorBoard events: {error.exc_value}")
    else:
        threading.__excepthook__(error)


def _git_revision() -> str:
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=HOME,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
