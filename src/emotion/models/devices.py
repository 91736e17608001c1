"""Where a model runs: the device, its memory layout, several GPUs or processes."""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from emotion import distributed
from emotion.errors import UserError
from emotion.machine import cores, local_rank
from emotion.telling import note


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model to the device, its image kernels laid out channels last, which is faster."""
    model.to(device)
    for parameter in model.parameters():
        if parameter.ndim == 4:  # ``Module.to`` would refuse the video kernels of resnet3d
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def parallelise(model: nn.Module, device: torch.device) -> nn.Module:
    """The model for several processes, several GPUs, or one device."""
    if distributed.world_size() > 1:
        return DistributedDataParallel(model, [device] if device.type == "cuda" else None)
    many_gpus = device.type == "cuda" and torch.cuda.device_count() > 1
    return nn.DataParallel(model) if many_gpus else model


def choose_device(choice: str) -> torch.device:
    """This process's device.

    Raises:
        UserError: CUDA is asked for and there is none.
    """
    if choice == "cuda" and not torch.cuda.is_available():
        raise UserError("cuda: there is no CUDA device; give auto or cpu")
    if choice == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank())


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """What ``--amp True`` computes in: bf16 where the device can (many CPUs do), fp16 on older
    GPUs, nothing but float32 on a CPU without it, with a note.
    """
    if device.type == "cuda":
        fine = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fine else torch.float16
    if computes_in_bfloat16():
        return torch.bfloat16
    if distributed.is_main():
        note("--amp True: this CPU does not compute in bfloat16; float32 is used")
    return None


def computes_in_bfloat16() -> bool:
    """Whether this CPU does: oneDNN refuses an LSTM in it where the processor lacks AVX-512."""
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
    except RuntimeError:
        return False
    return True


def loader_workers(wanted: int) -> int:
    """At most one worker a core and rank, with a note where that is fewer than wanted."""
    most = cores()
    if wanted > most and distributed.is_main():
        note(f"--num_workers {wanted}: {most} are started, one a core")
    return min(wanted, most)
