"""How many clips fit into memory at once."""

from pathlib import Path

import torch
from torch import Tensor, nn

from emotion.errors import UserError
from emotion.lazy import Lazy
from emotion.machine import return_freed_memory
from emotion.models.evaluate import take
from emotion.records import Batch

psutil = Lazy("psutil")  # for the memory of a CPU alone
CGROUP = Path("/sys/fs/cgroup")
SHARE = {"cpu": 0.5, "cuda": 0.8}  # of the free memory, given to activations
OVERHEAD = 1.5  # peak of a backward pass over what its forward pass saved
PROBE = 2  # clips that are tried


def micro_batch_size(choice: str, model: nn.Module, batch: Batch, size: int) -> int:
    """Clips to run at once: the number given, or as many of ``size`` as fit.

    Raises:
        UserError: ``choice`` is neither auto nor a number above 0.
    """
    if choice != "auto":
        if not choice.isdigit() or int(choice) == 0:
            raise UserError(f"--micro_batch {choice}: give auto or a number above 0")
        return min(int(choice), size)
    device = next(model.parameters()).device
    fits = int(free_memory(device) * SHARE[device.type] / (OVERHEAD * bytes_per_clip(model, batch)))
    parts = -(-size // max(1, min(fits, size)))
    return -(-size // parts)


def bytes_per_clip(model: nn.Module, batch: Batch) -> float:
    """What autograd keeps of one clip between the forward and the backward pass."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    training = model.training
    model.eval()  # leaves random numbers and batch-norm statistics as they are
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        outputs = model(take(batch, 0, PROBE))
    model.train(training)
    del outputs
    clips = min(PROBE, len(next(iter(batch.streams.values())).mask))
    return max(1.0, sum(kept.values()) / clips)


def free_memory(device: torch.device) -> int:
    """Bytes that can be had now, on the device or within the container's limit."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device)
        share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)  # torch 2.6
        allowed = int(share(device) * total)
        # what torch holds and nobody uses can be had as well
        return max(0, min(free, allowed - held)) + held - torch.cuda.memory_allocated(device)
    return_freed_memory()
    free = psutil.virtual_memory().available
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or no limit
        return free
    return min(free, max(limit - used, 0))
