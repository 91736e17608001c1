"""Published weights: fetched once into torch hub's cache, with a short patience for the network."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

TIMEOUT_SECONDS = 10.0


def fetch(url: str, folder: Path | None = None) -> Path:
    """The file at ``url``, or its copy of before; a progress bar where somebody looks.

    Args:
        url: its last part names the file.
        folder: of the copies; torch hub's without one.

    Raises:
        OSError: it cannot be had.
    """
    import torch

    target = cached(url, folder)
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _socket_timeout(TIMEOUT_SECONDS):
                torch.hub.download_url_to_file(url, str(target), progress=sys.stderr.isatty())
        except HTTPException as error:  # a line cut off in the midst
            raise OSError(str(error) or type(error).__name__) from error
    return target


def cached(url: str, folder: Path | None = None) -> Path:
    """Where the file lies once it was fetched: a person may put it there as well."""
    import torch

    return (folder or Path(torch.hub.get_dir()) / "checkpoints") / url.rsplit("/", 1)[-1]


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """A short limit a read: without one, a cluster that drops packets hangs the run."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
