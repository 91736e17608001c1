"""Files are written whole or not at all."""

import multiprocessing
import os
import signal

import pytest

from emotion.files import remove_partial_files, write_atomic


def killed_while_writing(target):
    """What a child process does that dies by SIGKILL between the writing and the renaming."""
    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
    write_atomic(target, lambda file: file.write(b"new" * 1000))


@pytest.mark.parametrize("before", [None, b"old"], ids=["nothing", "an older file"])
def test_a_kill_during_a_write_leaves_what_was_there(tmp_path, before):
    target = tmp_path / "train" / "speech" / "7.npy"
    target.parent.mkdir(parents=True)
    if before is not None:
        target.write_bytes(before)
    child = multiprocessing.get_context("fork").Process(target=killed_while_writing, args=[target])
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert (target.read_bytes() if target.exists() else None) == before
    assert len(list(target.parent.iterdir())) == 1 + (before is not None)  # the partial file
    remove_partial_files(tmp_path)
    assert list(target.parent.iterdir()) == ([] if before is None else [target])


def test_the_content_is_on_disk_before_the_name_is_there(tmp_path, monkeypatch):
    target, seen = tmp_path / "a", []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append(target.exists()), fsync(file)))
    write_atomic(target, lambda file: file.write(b"content"))
    assert seen == [False]
    assert target.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_no_trace(tmp_path, monkeypatch, error):
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def fail(file):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        write_atomic(target, lambda file: file.write(b"new"))
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == b"old"


def test_a_name_as_long_as_a_file_may_have_is_written(tmp_path):
    path = tmp_path / ("a" * 251 + ".csv")
    write_atomic(path, lambda file: file.write(b"content"))
    assert path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [path]


def test_only_partial_files_are_swept_away(tmp_path):
    for name in ("a/.7.npy.12.partial", "a/7.npy", "b/.hidden", "b/partial"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    remove_partial_files(tmp_path / "nowhere")
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["a/7.npy", "b/.hidden", "b/partial"]
