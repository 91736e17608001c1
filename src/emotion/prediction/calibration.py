"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599), stored beside the checkpoint."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from emotion.files import read_json, write_json
from emotion.metrics import calibration_error

RANGE = (0.05, 20.0)


class Calibration(NamedTuple):
    """A fitted temperature and what it did on the clips it was fitted on."""

    temperature: float
    clips: int
    loss_before: float  # mean cross-entropy, nats
    loss_after: float
    calibration_error_before: float
    calibration_error_after: float


def calibration_path(checkpoint: Path) -> Path:
    """Where the temperature of a checkpoint lies."""
    return checkpoint.with_suffix(".temperature.json")


def read_temperature(checkpoint: Path) -> float:
    """The stored temperature, 1 where there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = calibration_path(checkpoint)
    if not path.is_file():
        return 1.0
    return read_json(path, "remove it, or run --calibrate True again", _parse_temperature)


def _parse_temperature(content: dict[str, Any]) -> float:
    temperature = float(content["temperature"])
    if not RANGE[0] <= temperature <= RANGE[1]:
        raise ValueError(f"{temperature} is no temperature")
    return temperature


def write_calibration(checkpoint: Path, calibration: Calibration) -> Path:
    """Store a calibration beside its checkpoint; returns where."""
    path = calibration_path(checkpoint)
    write_json(path, calibration._asdict())
    return path


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """The temperature of least cross-entropy; logits (clips, classes), labels (clips,)."""

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(labels)), labels].mean())

    best = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded")
    temperature = float(np.exp(best.x))
    return Calibration(
        temperature=temperature,
        clips=len(labels),
        loss_before=loss(0.0),
        loss_after=float(best.fun),
        calibration_error_before=calibration_error(softmax(logits, axis=1), labels),
        calibration_error_after=calibration_error(softmax(logits / temperature, axis=1), labels),
    )
