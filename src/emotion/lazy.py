"""Packages that are imported when they are first used.

Training and answering from features need neither ffmpeg nor the packages around it, so that they
run where those cannot be installed; and every start is the quicker for it.
"""

import importlib
from typing import Any

from emotion.errors import UserError


class Lazy:
    """Stands for a package of that name: its first attribute asked for imports it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


def optional(package: str, asked: str, requirements: str) -> Any:
    """A package that is not installed with the rest.

    Args:
        package: its module.
        asked: what of the user's asks for it, such as a flag with its value.
        requirements: the file that brings it.

    Raises:
        UserError: it is not there.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        name = package.replace("_", "-")
        raise UserError(
            f"{asked}: requires the package {name}; pip install -r {requirements}"
        ) from None
