"""One rank of ``parallel.py``: the loop's steps under DistributedDataParallel, started by torchrun.

``emotion.distributed.process_group`` leaves a single rank without a group; here it joins one, so
that nccl and the wrapper are exercised on one GPU too.
"""

import json
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.gpu.material import engine_of, quiet
from emotion import distributed
from emotion.machine import local_rank
from emotion.training.loop import Engine, accumulate_gradient, augment, train_one_epoch
from emotion.training.options import TrainOptions


def main() -> None:
    """Print one JSON line on the first rank."""
    kind, features = sys.argv[1:]
    device = torch.device(kind, local_rank()) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    options = TrainOptions(
        mode="face",
        face_model="attention_lstm",
        features_dir=features,
        num_workers=0,
        batch_size=8,
        micro_batch="4",
        device=kind,
    )
    _, loaders, engine = engine_of(options, device)
    figures = {"backend": dist.get_backend(), "ranks": distributed.world_size()}
    figures["gathered"] = len(distributed.gather({"rank": distributed.rank()}))
    figures["gradients differ"] = difference(engine, loaders)
    steps = len(loaders.train_batches)
    figures["loss"] = train_one_epoch(engine, loaders.train, steps, 0)
    if distributed.is_main():
        print(json.dumps(figures), flush=True)
    dist.destroy_process_group()


def difference(engine: Engine, loaders: object) -> float:
    """Largest difference of gradients with the wrapper and without, over the largest gradient.

    Two micro-batches: the first is a step without exchange (``no_sync``).
    """
    quiet(engine.model).train()
    inputs, soft = augment(engine, next(iter(loaders.train)), torch.Generator().manual_seed(0))
    plain = gradients(engine, engine.model, inputs, soft)
    on_gpu = engine.device.type == "cuda"
    wrapped = DistributedDataParallel(engine.model, [engine.device] if on_gpu else None)
    shared = gradients(engine, wrapped, inputs, soft)
    for gradient in plain:
        distributed.sum_over_ranks(gradient)
        gradient /= distributed.world_size()
    scale = max(float(gradient.abs().max()) for gradient in plain)
    pairs = zip(plain, shared, strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs) / scale


def gradients(
    engine: Engine, parallel: nn.Module, inputs: object, soft: torch.Tensor
) -> list[torch.Tensor]:
    """Of one batch, in the order of the parameters."""
    engine.parallel = parallel
    engine.optimizer.zero_grad()
    accumulate_gradient(engine, inputs, soft)
    return [parameter.grad.clone() for parameter in engine.model.parameters()]


if __name__ == "__main__":
    main()
