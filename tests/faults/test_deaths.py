"""A loader process or a rank that dies ends training in one line, and it can go on."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from emotion.data.faults import Ledger, told_in_one_line
from emotion.errors import UserError
from emotion.inputs.store import StoredClip
from emotion.models.checkpoint import load_checkpoint
from emotion.paths import HOME
from emotion.training import logbook, run
from tests.features import make_features
from tests.training.runs import assert_same_runs, options_of

BOUND = 90.0  # seconds from a rank's death to the end of all


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="other"), told_in_one_line(Ledger(2)):
        raise RuntimeError("other")
    with pytest.raises(UserError, match="mine"), told_in_one_line(Ledger(2)):
        raise UserError("mine")


def test_a_loader_process_that_dies_names_its_clip(tmp_path, tally, monkeypatch):
    monkeypatch.setattr(logbook, "draw_curves", lambda *_: None)
    monkeypatch.setattr(logbook, "draw_confusion", lambda *_: None)
    make_features(tmp_path / "f", clips={"train": 4, "val": 2}, modalities=("text",))
    assert run.train(options_of(tmp_path / "f", tmp_path / "straight", num_workers=1)) == 0
    read = StoredClip.read
    main = os.getpid()

    def die_at(clip, feature):
        if os.getpid() != main and clip.record.stem == "train002":
            os.kill(os.getpid(), signal.SIGKILL)
        return read(clip, feature)

    monkeypatch.setattr(StoredClip, "read", die_at)
    tally("dead loader processes")
    with pytest.raises(UserError, match=r"died at the clip train002 .*--resume True"):
        run.train(options_of(tmp_path / "f", tmp_path / "logs", num_workers=1))
    monkeypatch.setattr(StoredClip, "read", read)
    assert load_checkpoint(tmp_path / "logs" / "text" / "run" / "last.pth").epoch == -1
    again = options_of(tmp_path / "f", tmp_path / "logs", num_workers=1, resume=True)
    assert run.train(again) == 0
    assert_same_runs(tmp_path / "logs" / "text" / "run", tmp_path / "straight" / "text" / "run")


def ranks(features, logs, n_epoch):
    """Two processes on two clips to validate on; the launcher."""
    flags = {
        "mode": "text",
        "exp_name": "run",
        "features_dir": features,
        "logs_dir": logs,
        "n_epoch": n_epoch,
        "batch_size": 2,
        "num_workers": 0,
        "resume": True,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*launcher, "--nproc_per_node", "2", "train.py", *words],
        cwd=HOME,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.torture
def test_a_rank_that_dies_ends_all_and_they_go_on(tmp_path, tally):
    """Validation has one clip, fewer than there are ranks."""
    make_features(tmp_path / "f", clips={"train": 8, "val": 1}, modalities=("text",))
    launcher = ranks(tmp_path / "f", tmp_path / "logs", 2000)
    while not launcher.stdout.readline().startswith("Epoch [2]"):
        assert launcher.poll() is None
    children = psutil.Process(launcher.pid).children(recursive=True)
    victim = next(p for p in children if p.environ().get("RANK") == "1")
    died = time.monotonic()
    victim.kill()
    launcher.communicate(timeout=BOUND)
    tally("dead ranks")
    assert launcher.returncode != 0
    assert psutil.wait_procs(children, timeout=BOUND)[1] == []
    assert time.monotonic() - died < BOUND
    done = load_checkpoint(tmp_path / "logs" / "text" / "run" / "last.pth").epoch
    assert done >= 2
