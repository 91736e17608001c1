"""A folder that somebody handed on holds links: nothing is written or swept away through one."""

import os

import pytest

from emotion.errors import UserError
from emotion.files import write_atomic
from emotion.inputs.store import FeatureStore
from emotion.preprocessing.run import preprocess
from emotion.training.options import ALL_FOLDS
from emotion.training.run import train
from tests.features import make_features
from tests.media import noise, tone, write_clip
from tests.preprocessing.clips import options
from tests.training.runs import options_of

MINE = "what nobody else may write\n"


@pytest.fixture
def mine(tmp_path):
    """A folder of the user's with a file in it; both are as before after the test."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "diary.pth").write_text(MINE)
    yield folder
    assert [path.name for path in folder.rglob("*")] == ["diary.pth"]
    assert (folder / "diary.pth").read_text() == MINE


@pytest.fixture
def corpus(tmp_path):
    """One clip, by a table."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_clip(folder / "a.wav", None, tone(0.6, 300) + noise(0.6))
    (folder / "table.csv").write_text("path,label\na.wav,good\n")
    return folder


def refused(work, link):
    with pytest.raises(UserError) as caught:
        work()
    line = str(caught.value)
    assert line.startswith(f"{link}: is a link, not a f")
    assert "; remove it, or name another" in line
    assert "\n" not in line


@pytest.mark.parametrize("name", [".run.lock", ".lock", ".journal.jsonl", ".journal.1-of-2.jsonl"])
def test_a_link_in_the_place_of_a_file_of_the_runs_own(corpus, tmp_path, mine, name):
    root = tmp_path / "features"
    root.mkdir()
    (root / name).symlink_to(mine / "diary.pth")
    refused(lambda: preprocess(options(corpus, root, corpus="table")), root / name)


@pytest.mark.parametrize("name", [".run.lock", ".journal.jsonl"])
def test_a_pipe_in_the_place_of_a_file_of_the_runs_own(corpus, tmp_path, name):
    root = tmp_path / "features"
    root.mkdir()
    os.mkfifo(root / name)
    with pytest.raises(UserError, match="is a named pipe, not a file; remove it"):
        preprocess(options(corpus, root, corpus="table"))


@pytest.mark.parametrize("name", ["all", "all/speech"])
def test_a_linked_folder_in_features_is_neither_filled_nor_swept(corpus, tmp_path, name):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / ".a.npy.12.partial").write_text(MINE)
    link = tmp_path / "features" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(mine)
    refused(lambda: preprocess(options(corpus, tmp_path / "features", corpus="table")), link)
    assert [path.name for path in mine.rglob("*")] == [".a.npy.12.partial"]


def test_features_may_be_a_link_themselves(corpus, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "features").symlink_to(tmp_path / "disk")
    assert preprocess(options(corpus, tmp_path / "features", corpus="table")) == 0
    assert FeatureStore(tmp_path / "disk").read_manifest("all")[0].state("speech") == "ok"


@pytest.mark.parametrize("name", ["text", "text/run", "text/run/fold_1"])
def test_a_linked_run_folder_is_neither_filled_nor_emptied(tmp_path, mine, name):
    features, logs = tmp_path / "features", tmp_path / "logs"
    make_features(features, clips={"all": 12}, speakers=4)
    flags = {"fold": ALL_FOLDS} if name.endswith("fold_1") else {}
    (logs / name).parent.mkdir(parents=True)
    (logs / name).symlink_to(mine)
    given = options_of(features, logs, n_epoch=1, n_folds=3, **flags)
    refused(lambda: train(given), logs / name)


def test_a_link_in_the_place_of_a_runs_lock(tmp_path, mine):
    features, lock = tmp_path / "features", tmp_path / "logs" / "text" / "run" / ".lock"
    make_features(features, clips={"train": 8, "val": 4})
    lock.parent.mkdir(parents=True)
    lock.symlink_to(mine / "diary.pth")
    refused(lambda: train(options_of(features, tmp_path / "logs", n_epoch=1)), lock)


def test_a_file_that_is_written_whole_takes_the_place_of_a_link(tmp_path, mine):
    path = tmp_path / "answers.csv"
    path.symlink_to(mine / "diary.pth")
    (tmp_path / f".answers.csv.{os.getpid()}.partial").symlink_to(mine / "diary.pth")
    write_atomic(path, lambda file: file.write(b"new"))
    assert not path.is_symlink()
    assert path.read_text() == "new"


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "answers.csv"
    path.write_text("old")
    path.chmod(mode)
    write_atomic(path, lambda file: file.write(b"new"))
    assert path.stat().st_mode & 0o777 == mode
    write_atomic(tmp_path / "new.csv", lambda file: file.write(b"new"))
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "new.csv").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a named pipe, not a file"):
        write_atomic(tmp_path / "pipe", lambda file: file.write(b"new"))
    assert (tmp_path / "pipe").is_fifo()
