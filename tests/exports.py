"""Exported models, and what ``examples/onnx_predict.py`` says of clips without torch."""

import os
import subprocess
import sys

import pytest

from emotion.paths import HOME
from emotion.prediction.run import predict
from tests.prediction import options_of


def exported(weights, folder):
    """The session of an exported model."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    path = folder / "model.onnx"
    assert predict(options_of(weights, folder, export=str(path))) == 0
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def without_torch(*words):
    """Python in a process in which torch cannot be imported."""
    hidden = HOME / "tests" / "no_torch"
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=HOME,
        env={**os.environ, "PYTHONPATH": f"{hidden}{os.pathsep}src"},
        capture_output=True,
        text=True,
    )


def example(*given):
    """``examples/onnx_predict.py`` there."""
    return without_torch("examples/onnx_predict.py", *given)


def answers(done):
    """FileID -> emotion and probability."""
    assert done.returncode == 0, done.stderr
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: (emotion, float(probability)) for name, emotion, probability in lines}


def assert_as_torch(found, rows):
    """The example's answers are those of predict.py, and it has none where predict.py has none."""
    assert list(found) == [row["FileID"] for row in rows if row["Emotion"]]
    for row in rows:
        if row["Emotion"]:
            emotion, probability = found[row["FileID"]]
            assert emotion == row["Emotion"]
            assert probability == pytest.approx(float(row[emotion]), abs=1e-3)
