"""Where a step's time goes, by torch.profiler, and what TF32 is worth."""

from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.material import engine_of, options_of
from benchmarks.gpu.modes import modes
from benchmarks.gpu.rows import LeftOut, Section
from benchmarks.training import bare_steps, seconds
from emotion.records import Batch
from emotion.training.loop import Engine, augment

COSTS = 3  # the largest of a step
STEPS = 5  # of the same batch that are timed


def run(section: Section) -> None:
    """Profiles of the two image models, and what TF32 is worth."""
    names = [f"speech B{section.sizes.coeff}", "face resnet3d"]
    for name in names:
        for variant in ("fp32", "bf16") if section.on_gpu else ("fp32",):
            work = partial(largest_costs, section, name, variant == "bf16")
            section.row(f"{name} {variant}, largest costs", work)
    for name in names:
        section.row(f"{name}, TF32", partial(tf32, section, name))


def ready(section: Section, name: str, **flags: Any) -> tuple[Engine, Batch, torch.Tensor]:
    """An engine and a batch on the device, augmented once, after a step that warms up."""
    options = options_of(section, **modes(section.sizes)[name], **flags)
    _, loaders, engine = engine_of(options, section.device)
    labelled = next(iter(loaders.train))
    inputs, soft = augment(engine, labelled, torch.Generator().manual_seed(0))
    engine.parallel.train()
    bare_steps(engine, inputs, soft, 1)
    return engine, inputs, soft


def largest_costs(section: Section, name: str, amp: bool) -> dict[str, Any]:
    """The operations of a step that take the most time of the device itself."""
    engine, inputs, soft = ready(section, name, amp=amp)
    work = partial(bare_steps, engine, inputs, soft, 1)
    step = seconds(section.device, work)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * section.on_gpu
    with profile(activities=activities) as found:
        seconds(section.device, work)
    times = {event.key: self_microseconds(event, section.on_gpu) for event in kernels(found)}
    total = sum(times.values()) or 1.0
    largest = sorted(times, key=times.__getitem__, reverse=True)[:COSTS]
    shares = {key[:90]: round(100 * times[key] / total, 1) for key in largest}
    figures = {"step ms": 1000 * step, "busy ms": total / 1000, "costs %": shares}
    return {**figures, "operations": operations(found, section.on_gpu)}


def kernels(found: profile) -> list[Any]:
    """What runs on the device: kernels there, operations on a CPU."""
    events = found.key_averages()
    on_device = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    return on_device or list(events)


def operations(found: profile, on_gpu: bool) -> dict[str, float]:
    """The same by operation of torch: percent of all time."""
    events = [e for e in found.key_averages() if e.key.startswith("aten::")]
    times = {event.key: self_microseconds(event, on_gpu) for event in events}
    total = sum(times.values()) or 1.0
    largest = sorted(times, key=times.__getitem__, reverse=True)[:COSTS]
    return {key: round(100 * times[key] / total, 1) for key in largest}


def self_microseconds(event: Any, on_gpu: bool) -> float:
    """Time of an operation without those that it calls."""
    return event.self_device_time_total if on_gpu else event.self_cpu_time_total


def tf32(section: Section, name: str) -> dict[str, Any]:
    """Seconds of a step with and without TF32, which fp32 runs leave off."""
    if not section.on_gpu:
        raise LeftOut("a CPU has no TF32")
    engine, inputs, soft = ready(section, name)
    took = {}
    for label, allowed in (("without", False), ("with", True)):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
        bare_steps(engine, inputs, soft, 1)
        took[label] = timed(section, engine, inputs, soft)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    figures = {f"step ms {label} TF32": 1000 * took[label] for label in took}
    return {**figures, "times as fast": took["without"] / took["with"]}


def timed(section: Section, engine: Engine, inputs: Batch, soft: torch.Tensor) -> float:
    """Seconds of a step, of a few in a row."""
    steps = STEPS if section.on_gpu else 1
    return seconds(section.device, partial(bare_steps, engine, inputs, soft, steps)) / steps
