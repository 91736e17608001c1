"""Tiny runs through ``train``, and whether two of them are alike."""

import csv

import pytest
import torch

from emotion.errors import UserError
from emotion.training import loop
from emotion.training.options import TrainOptions
from emotion.training.run import train


def options_of(folder, logs, mode="text", **flags):
    settings = {
        "exp_name": "run",
        "n_epoch": 3,
        "batch_size": 4,
        "num_workers": 0,
        "pretrained": "false",
        **flags,
    }
    return TrainOptions(mode=mode, features_dir=str(folder), logs_dir=str(logs), **settings)


def run_of(folder, logs, mode="text", **flags):
    """Train; the run folder."""
    options = options_of(folder, logs, mode, **flags)
    assert train(options) == 0
    return logs / mode / options.exp_name


def refused(folder, logs, mode="text", **flags):
    """The one line that a user gets."""
    with pytest.raises(UserError) as caught:
        train(options_of(folder, logs, mode, **flags))
    message = str(caught.value)
    assert "\n" not in message
    return message


def metrics_of(folder):
    """Rows of metrics.csv without the timing columns."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in rows]


def weights_of(path):
    return torch.load(path, weights_only=True)["model"]


def same(first, second):
    """Whether two nests of dicts, lists, tensors and numbers are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def assert_same_runs(first, second):
    """Scores, names of the checkpoints, weights, optimizer, bit for bit."""
    assert metrics_of(first) == metrics_of(second)
    assert names(first) == names(second)
    for name in names(first):
        assert same(weights_of(first / name), weights_of(second / name)), name
    states = [torch.load(f / "last.pth", weights_only=True)["training"] for f in (first, second)]
    for part in ("optimizer", "schedule", "best"):
        assert same(states[0][part], states[1][part]), part


def written(folder):
    """When each file of a run was written, but for the lock."""
    return {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}


def names(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


class Stop:
    """Ctrl-C in the middle of an epoch: at the given step of a run."""

    def __init__(self, monkeypatch, step):
        self.step, self.calls, self.update = step, 0, loop.update_weights
        monkeypatch.setattr(loop, "update_weights", self)

    def __call__(self, engine):
        self.calls += 1
        if self.calls == self.step:
            raise KeyboardInterrupt
        self.update(engine)


def stopped(features, logs, monkeypatch, step, mode="text", **flags):
    with monkeypatch.context() as patch:
        Stop(patch, step)
        with pytest.raises(KeyboardInterrupt):
            train(options_of(features, logs, mode, **flags))
    return logs / mode / "run"
