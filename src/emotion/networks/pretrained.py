"""Published weights: download, cache and load, or say in one line why not."""

import pickle
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from emotion.downloads import cached, fetch
from emotion.errors import UserError
from emotion.telling import tell

_FAILURES = (OSError, EOFError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError)


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.load(fetch(url), map_location="cpu", weights_only=True)


def _without(name: str, url: str, pretrained: str, error: Exception) -> bool:
    """Warn and return False, or raise, as ``pretrained`` says."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    mend = f"download {url} to {cached(url)}"
    if pretrained == "true":
        message = f"--pretrained true: {name} weights cannot be had ({reason}); {mend}"
        raise UserError(f"{message}, or give --pretrained auto or false") from error
    line = f"warning: no {name} weights ({reason}); starting from random ones; {mend} to have them"
    tell(line)
    return False
