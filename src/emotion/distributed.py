"""One process or many: what torchrun's environment says, and the few collectives that are used."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from emotion.errors import UserError

TIMEOUT = timedelta(minutes=30)
LOST_PEER = re.compile(r"gloo|Connection (closed|reset) by peer", re.IGNORECASE)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the group that torchrun started, nccl on CUDA and gloo elsewhere; nothing without it.

    Raises:
        UserError: another process of the group died.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not LOST_PEER.search(str(error)):
            raise
        raise UserError(
            "another process of the group died, so this one ends too; start all of them again: "
            "--resume True goes on from the last whole epoch"
        ) from error
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Which of all processes this is."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process writes files and lines."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        dist.barrier()


def gather(value: Any) -> list[Any]:
    """``value`` of every process, in rank order."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Element-wise sum over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values
