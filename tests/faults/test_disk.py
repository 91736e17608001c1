"""A disk that is full or read-only: one line, nothing damaged, and on once there is space.

The disk is a tmpfs of 1 MB, mounted for the test; where that is not allowed, one file may have no
more than 4 kB (RLIMIT_FSIZE), which fails in the same place with another reason.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess

import numpy as np
import pytest

from emotion.command_line import run as run_script
from emotion.files import write_atomic
from emotion.inputs.store import FeatureStore
from emotion.models.checkpoint import load_checkpoint
from emotion.preprocessing.run import PreprocessOptions, preprocess
from emotion.training import logbook, run
from tests.faults.media import VOICE
from tests.features import make_features
from tests.media import write_clip
from tests.training.runs import assert_same_runs, options_of
from tests.trees import contents

BALLAST = "ballast"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    for name in ("draw_curves", "draw_confusion"):
        monkeypatch.setattr(logbook, name, lambda *_: None)


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of its own, or None."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "faults", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    yield folder if done else None
    if done:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def full(disk):
    """No space on the disk inside; where there is none of our own, no long files at all."""
    if disk is not None:
        with (disk / BALLAST).open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            (disk / BALLAST).unlink()
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def stopped(main, capsys):
    """The line on stderr of a script that ends with code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run_script(main)
    assert caught.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


NO_SPACE = r"(No space left on device|File too large)"


def test_a_file_keeps_its_content_when_the_new_one_does_not_fit(disk, tmp_path, tally):
    path = (disk or tmp_path) / "last.pth"
    write_atomic(path, lambda file: file.write(b"old"))
    tally("disk full")
    with full(disk), pytest.raises(OSError, match=NO_SPACE) as caught:
        write_atomic(path, lambda file: file.write(bytes(8192)))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [p for p in path.parent.iterdir() if "partial" in p.name] == []


@pytest.fixture
def corpus(tmp_path):
    train = tmp_path / "corpus" / "train"
    train.mkdir(parents=True)
    first = write_clip(train / "000.wav", sound=np.tile(VOICE, 4))
    for number in range(1, 6):
        shutil.copy(first, train / f"{number:03}.wav")
    return train.parent


def options(corpus, features):
    return PreprocessOptions(
        data_dir=str(corpus), features_dir=str(features), vggface_weights="none", num_workers=0
    )


def test_preprocess_goes_on_after_space_is_made(disk, corpus, tmp_path, tally, capsys, monkeypatch):
    features = (disk or tmp_path) / "features"
    assert preprocess(options(corpus, tmp_path / "undisturbed")) == 0
    tally("disk full")
    write, written = FeatureStore.write, []

    def third_does_not_fit(store, *others):
        written.append(others[1])
        no_space = others[1] == "speech" and written.count("speech") == 3
        with full(disk) if no_space else contextlib.nullcontext():
            write(store, *others)

    monkeypatch.setattr(FeatureStore, "write", third_does_not_fit)
    line = stopped(lambda: preprocess(options(corpus, features)), capsys)
    assert "002.npy: " in line
    assert len(list((features / "train" / "speech").iterdir())) == 2
    assert preprocess(options(corpus, features)) == 0
    assert "4 extracted now" in capsys.readouterr().out
    assert contents(features) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("name", ["save_state", "save_best"])
def test_training_goes_on_after_space_is_made(disk, tmp_path, tally, capsys, monkeypatch, name):
    make_features(tmp_path / "f", clips={"train": 4, "val": 2}, modalities=("text",))
    logs = (disk or tmp_path) / "logs"
    undisturbed = options_of(tmp_path / "f", tmp_path / "undisturbed")
    assert run.train(undisturbed) == 0
    tally("disk full")
    save, calls = getattr(run, name), []

    def third_does_not_fit(*given):
        calls.append(given)
        with full(disk) if len(calls) == 3 else contextlib.nullcontext():
            save(*given)

    monkeypatch.setattr(run, name, third_does_not_fit)
    line = stopped(lambda: run.train(options_of(tmp_path / "f", logs)), capsys)
    assert ".pth: " in line
    folder = logs / "text" / "run"
    assert load_checkpoint(folder / "last.pth").epoch == (0 if name == "save_state" else 1)
    assert run.train(options_of(tmp_path / "f", logs, resume=True)) == 0
    assert_same_runs(folder, tmp_path / "undisturbed" / "text" / "run")


@pytest.fixture
def read_only(disk):
    """A folder in which nobody may write, not even root."""
    if disk is None:
        pytest.skip("no right to mount a disk, and root may write anywhere")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    return disk


def test_read_only_folders_are_one_line(read_only, corpus, tmp_path, tally, capsys):
    make_features(tmp_path / "f", clips={"train": 2, "val": 1}, modalities=("text",))
    tally("read-only folders", 2)
    mains = {
        "features": lambda: preprocess(options(corpus, read_only / "features")),
        "logs": lambda: run.train(options_of(tmp_path / "f", read_only / "logs")),
    }
    for folder, main in mains.items():
        line = stopped(main, capsys)
        assert str(read_only / folder) in line
        assert line.endswith(": Read-only file system")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_features_without_permission_are_one_line(tmp_path, tally, capsys):
    store = make_features(tmp_path / "f", clips={"train": 2, "val": 1}, modalities=("text",))
    store.path("train", "text", "train001").chmod(0)
    tally("read-only folders")
    line = stopped(lambda: run.train(options_of(tmp_path / "f", tmp_path / "logs")), capsys)
    assert "train001.npz" in line
