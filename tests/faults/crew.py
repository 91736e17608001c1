"""Work for processes that do not survive it; imported anew by each of them, so it is light."""

import ctypes
import os
import signal
import time


def prepare(number, fails=False):
    """Nothing to prepare, unless it is to go wrong."""
    if fails:
        os._exit(3)


def work(job):
    """A number is doubled; a word is what happens."""
    if job == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif job == "segfault":
        ctypes.string_at(0)
    elif job == "endless":
        time.sleep(1000)
    elif job == "full":
        raise OSError(28, "No space left on device", "there")
    elif job == "bar":
        from tqdm import tqdm  # as a library does

        list(tqdm([1], disable=True))
    return 2 * job
