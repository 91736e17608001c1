"""What goes wrong in the processes that read batches, in one line that names the clip."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info

from emotion.errors import UserError

NAME_BYTES = 300
DEAD = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
USER_ERROR = f"{UserError.__module__}.{UserError.__qualname__}: "


class Ledger:
    """Which clip each reading process is at, in shared memory: a dead one cannot tell."""

    def __init__(self, workers: int) -> None:
        self.rows = torch.zeros((max(workers, 1), NAME_BYTES), dtype=torch.uint8).share_memory_()

    def note(self, stem: str) -> None:
        """Write down what this process reads now; nothing in the main one."""
        worker = get_worker_info()
        if worker is not None and worker.id < len(self.rows):
            entry = f"{os.getpid()} {stem}".encode(errors="replace")[:NAME_BYTES]
            row = self.rows[worker.id].numpy()
            row[:] = 0
            row[: len(entry)] = np.frombuffer(entry, np.uint8)

    def clips_of(self, processes: Sequence[int]) -> list[str]:
        """The clips that these processes read last."""
        entries = [bytes(row).rstrip(b"\0").decode(errors="replace") for row in self.rows.numpy()]
        pairs = [entry.partition(" ") for entry in entries if entry]
        return [stem for process, _, stem in pairs if int(process) in processes]


@contextmanager
def told_in_one_line(ledger: Ledger) -> Iterator[None]:
    """Errors of reading processes, which torch raises with a traceback inside, or anywhere at all.

    Raises:
        UserError: a process died, or found a feature that cannot be used.
    """
    try:
        yield
    except UserError as error:
        raise UserError(str(error).rpartition(USER_ERROR)[2].strip()) from None
    except RuntimeError as error:
        dead = DEAD.search(str(error))
        if dead is None:
            raise
        clips = ledger.clips_of([int(process) for process in dead[1].split(",")])
        raise UserError(
            f"a process that reads features died at the clip {' '.join(clips) or 'unknown'} (out "
            "of memory?); --resume True goes on from the last whole epoch, with fewer "
            "--num_workers if it happens again"
        ) from None
