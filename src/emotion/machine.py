"""What this process may use of the machine it runs on."""

import ctypes
import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
LARGEST = 2**31 - 1


def local_processes() -> int:
    """How many processes torchrun runs on this machine; 1 without it."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def local_rank() -> int:
    """Which of them this is."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def cores() -> int:
    """Cores for this process, at least 1: those that it is bound to, no more than its container's
    quota, shared among the processes that torchrun runs on this machine.
    """
    if hasattr(os, "sched_getaffinity"):
        bound = len(os.sched_getaffinity(0))
    else:
        bound = os.cpu_count() or 1
    return max(1, min(bound, _quota()) // local_processes())


def threads() -> int:
    """Threads for a model on the CPU: OMP_NUM_THREADS, or ``cores``.

    torchrun sets the variable to 1 by itself, so that among several processes it says nothing.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    alone = local_processes() == 1
    return int(given) if alone and given.isdecimal() and int(given) else cores()


def _quota() -> int:
    """Cores that the container's limit on processor time comes to; no limit is a very large one."""
    try:
        allowed, period = (CGROUP / "cpu.max").read_text().split()
        return max(1, math.ceil(int(allowed) / int(period)))
    except (OSError, ValueError):  # no container, or "max"
        return 1 << 30


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next step, and not give it back to the system.

    Every step of a model on the CPU frees and takes the same large blocks. Fetched anew they cost a
    page fault for every 4 kB, a quarter of a training step's processor time. Kept, they are a tenth
    more memory, a quarter where clips are of unequal length (benchmarks/README.md). Elsewhere than
    with glibc, nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None) if os.name == "posix" else None, "mallopt", None)
    if mallopt and mallopt(MMAP_THRESHOLD, LARGEST):  # older versions refuse so large a one
        mallopt(TRIM_THRESHOLD, LARGEST)


def return_freed_memory() -> None:
    """Give back what is kept after all, so that the system can be asked how much is free."""
    trim = getattr(ctypes.CDLL(None) if os.name == "posix" else None, "malloc_trim", None)
    if trim:
        trim(0)


def allow_tf32(allowed: bool) -> None:
    """Whether CUDA may round the factors of float32 products to 10 bits.

    torch lets its convolutions: MTCNN then puts a box 19 pixels elsewhere than a CPU does.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
