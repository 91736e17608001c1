"""``kill -9`` in the middle of the fourth epoch, then ``--resume True``: as if nothing had been."""

import random
import signal
import subprocess
import sys
import time

import pytest

from emotion.paths import HOME
from tests.features import make_features
from tests.training.runs import assert_same_runs

pytestmark = pytest.mark.torture

CROPS = {"face_model": "resnet3d", "face_size": 32}
MODES = {
    "speech": {"mode": "speech"},
    "face_attention_lstm": {"mode": "face", "face_model": "attention_lstm"},
    "face_resnet3d": {"mode": "face", **CROPS},
    "face_mlstm_fcn": {"mode": "face", "face_model": "mlstm_fcn"},
    "text": {"mode": "text"},
    "text_mlstm_fcn": {"mode": "text", "text_model": "mlstm_fcn"},
    "multimodal": {"mode": "multimodal"},
    "multimodal_resnet3d": {"mode": "multimodal", "lam": 0, "fusion": "concat", **CROPS},
}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """8 clips for training, 3 for validation."""
    folder = tmp_path_factory.mktemp("features")
    make_features(folder, clips={"train": 8, "val": 3}, frames=(20, 60))
    return folder


@pytest.fixture(scope="module")
def straight(features, tmp_path_factory):
    """Undisturbed runs without workers, when first asked for."""
    runs = {}

    def made(name):
        if name not in runs:
            logs = tmp_path_factory.mktemp("straight")
            finish(start(features, logs, name, 0))
            runs[name] = logs / MODES[name]["mode"] / "run"
        return runs[name]

    return made


def start(features, logs, name, workers):
    flags = {
        "features_dir": features,
        "logs_dir": logs,
        "exp_name": "run",
        "n_epoch": 6,
        "batch_size": 2,
        "pretrained": "false",
        "resume": True,
        "num_workers": workers,
        **MODES[name],
    }
    words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    return subprocess.Popen(
        [sys.executable, "train.py", *words], cwd=HOME, stdout=subprocess.PIPE, text=True
    )


def finish(process):
    process.communicate(timeout=600)
    assert process.returncode == 0


def kill_in_fourth_epoch(process, moment):
    """``moment``: share of an epoch's duration, from 0 to 1, after the third epoch's line."""
    lines = [(line, time.monotonic()) for line in iter_epochs(process, 3)]
    duration = lines[2][1] - lines[1][1]
    time.sleep(moment * duration)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def iter_epochs(process, count):
    seen = 0
    while seen < count:
        line = process.stdout.readline()
        assert line, "the run ended before its third epoch"
        if line.startswith("Epoch ["):
            seen += 1
            yield line


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", MODES)
def test_a_killed_run_goes_on_as_if_nothing_had_been(features, straight, tmp_path, name, workers):
    moment = random.Random(f"{name} {workers}").random()
    kill_in_fourth_epoch(start(features, tmp_path, name, workers), moment)
    folder = tmp_path / MODES[name]["mode"] / "run"
    assert not (folder / "result.json").exists()
    finish(start(features, tmp_path, name, workers))
    assert_same_runs(folder, straight(name))
