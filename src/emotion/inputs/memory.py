"""Features kept in memory once read: an epoch over small vectors is spent opening files."""

from collections.abc import Callable
from typing import Any

import numpy as np

from emotion.lazy import Lazy

psutil = Lazy("psutil")
SHARE = 0.25  # of the memory that is free when a run starts, for all of its processes together


class Memory:
    """What was read, as long as it fits; what no longer fits is read again each time.

    Args:
        budget: bytes.
    """

    def __init__(self, budget: int) -> None:
        self.left = budget
        self._values: dict[Any, Any] = {}

    @classmethod
    def of_run(cls, processes: int) -> "Memory":
        """One of ``processes`` that read the same features beside one another."""
        return cls(int(SHARE * psutil.virtual_memory().available / max(1, processes)))

    def read(self, key: Any, load: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """What ``load`` makes, a named tuple of arrays, or what it made before.

        Its arrays can be read alone, as others get the same ones.
        """
        if key in self._values:
            return self._values[key]
        value = load()
        arrays = [part for part in value if isinstance(part, np.ndarray)]
        size = sum(array.nbytes for array in arrays)
        if size <= self.left:
            for array in arrays:
                array.flags.writeable = False
            self.left -= size
            self._values[key] = value
        return value
