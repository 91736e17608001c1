"""Published weights: download, cache and load, or say in one line why not."""

import io
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import torch
from torch import Tensor

from src.errors import UserError
from src.telling import tell

TIMEOUT_SECONDS = 10.0
_FAILURES = (OSError, EOFError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """A short limit a read: without one, a cluster that drops packets hangs the run."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def load_published(
    url: str, name: str, pretrained: str, install: Callable[[dict[str, Tensor]], None]
) -> bool:
    """Fetch the file at ``url`` (or torch hub's cached copy) and hand its tensors to ``install``.

    Args:
        url: where the published file is; its last part names the file in the cache.
        name: what the weights are, for the message.
        pretrained: "true", "auto" (a warning line on stderr when they cannot be had) or "false".
        install: loads the tensors; raises RuntimeError, KeyError or ValueError when they don't fit.

    Returns:
        Whether the weights are in the model.

    Raises:
        UserError: they cannot be had and ``pretrained`` is "true", or it is none of the three.
    """
    if pretrained not in ("auto", "true", "false"):
        raise UserError(f"--pretrained {pretrained!r} is not one of auto true false; give one")
    if pretrained == "false":
        return False
    try:
        install(_fetch(url))
    except _FAILURES as error:
        return _without(name, url, pretrained, error)
    return True


def _fetch(url: str) -> dict[str, Tensor]:
    """The tensors at ``url``, from torch hub's cache where they are there."""
    with _socket_timeout(TIMEOUT_SECONDS), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        with redirect_stdout(io.StringIO()):  # the hub announces itself on stdout, which is a log
            return torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=True, check_hash=False, weights_only=True
            )


def _without(name: str, url: str, pretrained: str, error: Exception) -> bool:
    """Warn and return False, or raise, as ``pretrained`` says."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    mend = f"download {url} to {path}"
    if pretrained == "true":
        message = f"--pretrained true: {name} weights cannot be had ({reason}); {mend}"
        raise UserError(f"{message}, or give --pretrained auto or false") from error
    line = f"warning: no {name} weights ({reason}); starting from random ones; {mend} to have them"
    tell(line)
    return False
