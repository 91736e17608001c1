"""DataParallel over all GPUs, or twice over one; DistributedDataParallel over torchrun's ranks."""

import json
import os
import subprocess
import sys
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.material import engine_of, features_of, in_float32, options_of, quiet
from benchmarks.gpu.modes import modes
from benchmarks.gpu.rows import Section, promise
from emotion.models.evaluate import take
from emotion.paths import HOME
from emotion.records import Batch
from emotion.training.loop import Engine, accumulate_gradient, augment

SAME_LOGITS = 1e-3
SAME_GRADIENT = 1e-2  # of the largest gradient: the order of sums differs
CLIPS = 8
MODES = ("text attention_lstm", "face attention_lstm", "speech statistics", "multimodal aligned")


def run(section: Section) -> None:
    """Scatter and gather of every mode's batch; then a group of processes."""
    for name in MODES:
        section.row(f"DataParallel {name}", partial(replicas, section, name))
    section.row("torchrun, one rank a GPU", partial(ranks, section))


def replicas(section: Section, name: str) -> dict[str, Any]:
    """Answers and gradients of a batch that is scattered, against those of a whole one.

    In evaluation mode, since batch norm's statistics are a replica's own in training.
    """
    flags = {**modes(section.sizes)[name], "batch_size": CLIPS, "num_workers": 0}
    flags |= {"micro_batch": "64", "mixup_alpha": 0.0}
    with in_float32():
        _, loaders, engine = engine_of(options_of(section, **flags), section.device)
        quiet(engine.model)
        inputs, soft = augment(engine, next(iter(loaders.train)), torch.Generator().manual_seed(0))
        wanted = answers(engine, engine.model, inputs, soft)
        wrapped = wrap(engine.model, section.device)
        found = answers(engine, wrapped, inputs, soft)
    logits, gradient = (largest(a, b) for a, b in zip(wanted, found, strict=True))
    scale = max(float(g.abs().max()) for g in wanted[1].values())
    figures = {"replicas": width(wrapped), "logits differ": logits}
    figures["gradients differ"] = gradient / scale
    good = logits <= SAME_LOGITS and gradient <= SAME_GRADIENT * scale
    return promise(good, f"replicas differ: {figures}", figures)


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """DataParallel over all GPUs, twice over one; without any, two halves one after another."""
    if device.type == "cpu":
        return Halves(model)
    gpus = torch.cuda.device_count()
    return nn.DataParallel(model, device_ids=list(range(gpus)) if gpus > 1 else [0, 0])


def width(model: nn.Module) -> int:
    """Among how many replicas a batch is shared out."""
    return len(model.device_ids) if isinstance(model, nn.DataParallel) else 2


class Halves(nn.Module):
    """In place of DataParallel where there is no GPU: both halves of a batch, joined again."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Logits (B, classes) by head."""
        size = len(next(iter(batch.streams.values())).mask)
        parts = [
            self.module(take(batch, first, last))
            for first, last in ((0, size // 2), (size // 2, size))
        ]
        return {head: torch.cat([part[head] for part in parts]) for head in parts[0]}


def answers(
    engine: Engine, parallel: nn.Module, inputs: Batch, soft: torch.Tensor
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Logits by head and gradients by parameter of one batch, in evaluation mode.

    cuDNN has no gradient of an LSTM in evaluation: LSTMs alone stay in training.
    """
    engine.parallel = parallel
    parallel.eval()
    for module in parallel.modules():
        if isinstance(module, nn.LSTM):
            module.train()
    engine.optimizer.zero_grad()
    with torch.no_grad():
        logits = {head: value.clone() for head, value in parallel(inputs).items()}
    accumulate_gradient(engine, inputs, soft)
    named = engine.model.named_parameters()
    return logits, {name: p.grad.clone() for name, p in named if p.grad is not None}


def largest(wanted: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> float:
    """The largest difference of two sets of tensors of the same names."""
    if wanted.keys() != found.keys():
        return float("inf")
    return max(float((wanted[name] - found[name]).abs().max()) for name in wanted)


def ranks(section: Section) -> dict[str, Any]:
    """A run of ``one_rank.py`` under torchrun: nccl on GPUs, gloo on a CPU."""
    count = max(1, torch.cuda.device_count()) if section.on_gpu else 1
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(count), "-m", "benchmarks.gpu.one_rank"]
    command += [section.device.type, str(features_of(section))]
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "4")}
    answer = subprocess.run(
        command,
        cwd=HOME,
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if answer.returncode:
        raise RuntimeError(answer.stderr[-2000:])
    figures = json.loads(answer.stdout.splitlines()[-1])
    return promise(figures["gradients differ"] <= SAME_GRADIENT, "ranks differ", figures)
