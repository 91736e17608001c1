"""A second run of the same name, and going on after a kill."""

import dataclasses
import json
import shutil
import signal

import pytest
import torch

from emotion.command_line import run as run_main
from emotion.models.checkpoint import best_checkpoint, load_checkpoint
from emotion.training.run import train
from tests.training.runs import (
    Stop,
    assert_same_runs,
    metrics_of,
    names,
    options_of,
    refused,
    run_of,
    stopped,
    written,
)
from tests.warm import run_script

# -- a run of the same name -----------------------------------------------------------------------


def test_an_existing_run_is_refused_and_left_alone(finished, features):
    folder, _ = finished
    before = written(folder)
    message = refused(features, folder.parents[1])
    assert "--resume True" in message
    assert "remove the folder" in message
    assert before == written(folder)


def test_an_unfinished_run_without_last_pth_is_replaced(features, tmp_path):
    folder = run_of(features, tmp_path, n_epoch=3)
    for name in ("last.pth", "result.json"):
        (folder / name).unlink()
    run_of(features, tmp_path, n_epoch=1)
    assert len(metrics_of(folder)) == 1
    assert len(names(folder)) == 2
    assert len(list(folder.glob("events.*"))) == 1


def test_resume_of_a_finished_run_does_nothing(finished, features, capsys):
    folder, _ = finished
    before = written(folder)
    options = options_of(features, folder.parents[1], n_epoch=4, learning_rate=1e-2, resume=True)
    assert train(options) == 0
    assert before == written(folder)
    assert capsys.readouterr().out.count("\n") == 1


def test_resume_where_there_is_no_run_starts_one(features, tmp_path):
    assert len(metrics_of(run_of(features, tmp_path, n_epoch=1, resume=True))) == 1


def test_resume_with_other_flags_is_refused_but_for_harmless_ones(features, tmp_path, monkeypatch):
    stopped(features, tmp_path, monkeypatch, step=3)
    message = refused(features, tmp_path, resume=True, learning_rate=1.0)
    assert "--learning_rate 0.004" in message
    assert len(metrics_of(run_of(features, tmp_path, resume=True))) == 3


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", "/abs"])
def test_names_that_lead_elsewhere_are_refused(features, tmp_path, name):
    assert "--exp_name" in refused(features, tmp_path, exp_name=name)
    assert not any(tmp_path.iterdir())


# -- going on after a kill ------------------------------------------------------------------------

RESUMED = {
    "speech": {"mode": "speech", "batch_size": 2},
    "face": {"mode": "face"},
    "text": {"mode": "text"},
    "multimodal": {"mode": "multimodal", "batch_size": 2},
    "sgd": {"mode": "text", "optim": "sgd"},
}


@pytest.fixture(scope="module")
def straight(features, few, tmp_path_factory):
    """Uninterrupted runs without workers and their features, one a mode, when first asked for."""
    runs = {}

    def made(name):
        folder = few if name in ("speech", "multimodal") else features
        if name not in runs:
            runs[name] = run_of(folder, tmp_path_factory.mktemp("straight"), **RESUMED[name])
        return runs[name], folder

    return made


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", RESUMED)
def test_resume_equals_the_uninterrupted_run(tmp_path, monkeypatch, straight, name, workers):
    whole, folder = straight(name)
    flags = {**RESUMED[name], "num_workers": workers}
    halved = stopped(folder, tmp_path, monkeypatch, step=4, **flags)  # the second of epoch 1
    assert len(metrics_of(halved)) == 1
    run_of(folder, tmp_path, resume=True, **flags)
    assert_same_runs(halved, whole)


KILLED = """
import json, os, signal, sys
from emotion.training import loop
from emotion.training.options import TrainOptions
from emotion.training.run import train
update, calls = loop.update_weights, []
def update_or_die(engine):
    calls.append(1)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    update(engine)
loop.update_weights = update_or_die
train(TrainOptions(**json.loads(sys.argv[1])))
"""


def test_six_epochs_with_a_kill_in_the_fourth_equal_six_straight(features, tmp_path):
    options = options_of(features, tmp_path / "killed", n_epoch=6)
    (tmp_path / "killed.py").write_text(KILLED)
    killed = run_script(tmp_path / "killed.py", json.dumps(dataclasses.asdict(options)))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.endswith("\n")
    assert killed.stdout.count("Epoch [") == 3
    folder = run_of(features, tmp_path / "killed", n_epoch=6, resume=True)
    assert_same_runs(folder, run_of(features, tmp_path / "straight", n_epoch=6))


def test_a_kill_before_the_last_row_was_written_loses_no_row(features, tmp_path):
    folder = run_of(features, tmp_path)
    whole = metrics_of(folder)
    (folder / "result.json").unlink()
    rows = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(rows[:-1]))
    run_of(features, tmp_path, resume=True)
    assert metrics_of(folder) == whole
    assert (folder / "result.json").is_file()


def test_ctrl_c_in_epoch_0_ends_in_one_line_with_last_pth(features, tmp_path, monkeypatch, capsys):
    handler = signal.getsignal(signal.SIGTERM)
    Stop(monkeypatch, 1)
    try:
        with pytest.raises(SystemExit) as ended:
            run_main(lambda: train(options_of(features, tmp_path)))
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip().splitlines()[-1] == "stopped."
    folder = tmp_path / "text" / "run"
    assert load_checkpoint(folder / "last.pth").training["history"] == []
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize("kind", ["garbage", "object", "best"])
def test_a_last_pth_that_cannot_go_on_is_refused(features, tmp_path, kind):
    folder = run_of(features, tmp_path, n_epoch=1)
    (folder / "result.json").unlink()
    if kind == "garbage":
        (folder / "last.pth").write_bytes(b"nothing of the sort")
    elif kind == "object":  # would run code if it were unpickled
        torch.save({"options": options_of(features, tmp_path)}, folder / "last.pth")
    else:
        shutil.copy(best_checkpoint(folder), folder / "last.pth")
    assert "last.pth" in refused(features, tmp_path, n_epoch=1, resume=True)
