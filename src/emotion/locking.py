"""One run a folder: locks that end with their process, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from emotion.errors import UserError
from emotion.files import open_unlinked

NAME = ".lock"


class HeldError(UserError):
    """Another process is at work in a folder."""


@contextmanager
def only_run_in(
    folder: Path, name: str = NAME, beside_others: bool = False, patient: bool = False
) -> Iterator[None]:
    """Hold ``folder`` for this process; the file ``name`` goes with it, a kill may leave the file.

    Args:
        folder: made where it is not there; other machines may share it.
        name: of the lock's file; runs under other names do not meet.
        beside_others: others may hold it too, if all of them say so.
        patient: wait for another process to set it free.

    Raises:
        HeldError: another process holds it; the line names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = fcntl.LOCK_SH if beside_others else fcntl.LOCK_EX
    file = _open(folder / name, kind if patient else kind | fcntl.LOCK_NB)
    with file:
        file.truncate(0)
        file.write(f"{os.getpid()} on {os.uname().nodename}")
        file.flush()
        try:
            yield
        finally:
            _remove(folder / name, file)


def _open(path: Path, kind: int) -> TextIO:
    """The locked file. One that its last holder removed while it was being opened is no lock."""
    while True:
        file = open_unlinked(path, "a+")
        try:
            fcntl.flock(file, kind)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read().strip() or "unknown"
            raise HeldError(
                f"{path.parent}: process {holder} is at work there; wait for it, or name another "
                "folder"
            ) from None
        except OSError:  # a file system without locks
            return file
        if _is_current(path, file):
            return file
        file.close()


def _is_current(path: Path, file: TextIO) -> bool:
    """Whether an open file is still the one under its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _remove(path: Path, file: TextIO) -> None:
    """By the last holder, while it holds the lock: nobody can be given a file that is going."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # others are still at work, or there are no locks
        return
    path.unlink(missing_ok=True)
