"""Packages that are imported when they are first used.

Training and answering from features need neither ffmpeg nor the packages around it, so that they
run where those cannot be installed; and every start is the quicker for it.
"""

import importlib
from typing import Any


class Lazy:
    """Stands for a package of that name: its first attribute asked for imports it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
