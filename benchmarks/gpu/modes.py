"""Every mode: an epoch in fp32, bf16 and fp16, and its first losses against a CPU's."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.material import engine_of, in_float32, options_of, quiet
from benchmarks.gpu.rows import LeftOut, Section, promise
from benchmarks.gpu.sizes import Sizes
from benchmarks.training import bare_steps, peak_bytes, seconds
from emotion.data.dataset import Labelled
from emotion.models.devices import computes_in_bfloat16
from emotion.models.evaluate import take
from emotion.records import Batch
from emotion.training.loop import (
    Engine,
    accumulate_gradient,
    augment,
    train_one_epoch,
    update_weights,
)
from emotion.training.setup import Loaders

VARIANTS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
OF_BARE = 0.95  # rate of the real loop over that of a batch in memory: the goal for speech
SAME_LOSS = 1e-3  # first step, CPU and device, fp32
COMPARED_CLIPS = 4
COMPARED_STEPS = 3
LARGE = ("speech B", "face resnet3d", "multimodal concat")  # the test leaves them out
ONE_HALF = {  # modes that run in one of both half precisions alone on a GPU: eight minutes are few
    "text attention_lstm": "fp16",
    "face attention_lstm": "bf16",
    "face resnet3d": "bf16",
    "speech B4": "bf16",
}
RATE = 1e-3  # of plain SGD in the comparison: Adam's first step has the size of a sign


def run(section: Section) -> None:
    """A row a mode and variant, and one a mode that compares with the CPU."""
    for name, flags in modes(section.sizes).items():
        for variant in variants(section, name):
            section.row(f"{name} {variant}", partial(measure, section, name, flags, variant))
        if section.sizes.every_variant or not name.startswith(LARGE):
            section.row(f"{name} as on the CPU", partial(compare, section, flags))


def modes(sizes: Sizes) -> dict[str, dict[str, Any]]:
    """Flags of every mode by name."""
    speech = {"mode": "speech", "batch_size": sizes.batch}
    fused = {**speech, "mode": "multimodal", "coeff": sizes.coeff}
    sequence = {"batch_size": sizes.sequence_batch}
    crops = {"face_model": "resnet3d", "batch_size": sizes.crop_batch, "face_size": sizes.face_size}
    small = {"speech_model": "efficientnet_small"}
    return {
        f"speech B{sizes.coeff}": {**speech, "coeff": sizes.coeff},
        "speech statistics": {**speech, **small},
        "text attention_lstm": {"mode": "text", **sequence},
        "text mlstm_fcn": {"mode": "text", "text_model": "mlstm_fcn", **sequence},
        "face attention_lstm": {"mode": "face", "face_model": "attention_lstm", **sequence},
        "face mlstm_fcn": {"mode": "face", "face_model": "mlstm_fcn", **sequence},
        "face resnet3d": {"mode": "face", **crops},
        "multimodal aligned": {**fused, "fusion": "aligned"},
        "multimodal concat": {**fused, "fusion": "concat"},
    }


def variants(section: Section, name: str) -> list[str]:
    """The precisions of a mode; in a dry run a large one has fp32 alone, in the test none."""
    large = name.startswith(LARGE)
    if "mlstm" in name or name in ("speech statistics", "multimodal concat"):
        return ["fp32"]  # the others of their kind show what precision does
    if section.on_gpu and name in ONE_HALF:
        return ["fp32", ONE_HALF[name]]
    if section.on_gpu or not large:
        return list(VARIANTS) if section.sizes.every_variant or "text att" in name else ["fp32"]
    return ["fp32"] if section.sizes.every_variant else []


def measure(section: Section, name: str, flags: dict[str, Any], variant: str) -> dict[str, Any]:
    """Samples a second, seconds to the first step, peak memory, and the loop over a bare model."""
    if variant == "fp16" and not section.on_gpu and "speech" not in name:
        raise LeftOut("a CPU has no LSTM in fp16")
    if variant == "bf16" and not section.on_gpu and not computes_in_bfloat16():
        raise LeftOut("this CPU does not compute in bfloat16")
    started = time.monotonic()
    options = options_of(section, **flags, amp=variant != "fp32")
    _, loaders, engine = engine_of(options, section.device)
    force(engine, variant)
    steps = min(section.sizes.steps_of(name), len(loaders.train_batches))
    seconds(section.device, partial(some_steps, engine, loaders, 1, epoch=0))
    first_step = time.monotonic() - started
    inputs, soft = augment(engine, next(iter(loaders.train)), torch.Generator().manual_seed(0))
    bare_steps(engine, inputs, soft, 1)
    whole = len(next(iter(inputs.streams.values())).mask)
    rounds = 2 if section.on_gpu and name.startswith("speech") else 1
    bare, real, steady, loss = [], [], [], 0.0
    for number in range(1, rounds + 1):
        work = partial(bare_steps, engine, inputs, soft, steps)
        bare.append(seconds(section.device, work) / steps)
        starts: list[float] = []
        loss = some_steps(engine, loaders, steps, number, starts)
        synchronise(section.device)
        ended = time.monotonic()
        real.append((ended - starts[0]) / steps)
        steady.append((ended - starts[-1]) / max(steps - 1, 1))
    figures = {
        "samples/s": whole / min(real),
        "of bare": min(bare) / min(steady),
        "of bare, with the wait for the first batch": min(bare) / min(real),
        "first step s": round(first_step, 2),
        "peak MB": round(peak_bytes(section.device) / 1e6),
        "loss": loss,
        "micro-batch": engine.micro_batch,
    }
    if engine.scaler:
        figures |= {"skipped": int(engine.skipped_steps), "scale": engine.scaler.get_scale()}
    goal = not (section.on_gpu and name.startswith("speech B") and variant == "fp32")
    line = f"the real loop reaches {figures['of bare']:.3f} of the bare model, goal {OF_BARE}"
    return promise(goal or figures["of bare"] >= OF_BARE, line, figures)


def force(engine: Engine, variant: str) -> None:
    """Set the precision, whichever the device would choose by itself."""
    engine.amp = VARIANTS[variant]
    fp16 = engine.amp == torch.float16
    engine.scaler = torch.amp.GradScaler(engine.device.type) if fp16 else None


def some_steps(
    engine: Engine, loaders: Loaders, steps: int, epoch: int, starts: list[float] | None = None
) -> float:
    """The real loop for so many steps of an epoch; the mean loss.

    Args:
        engine: the model and what trains it.
        loaders: of its clips.
        steps: how many.
        epoch: its number.
        starts: is given the time when the loop begins, and when its first step is done: a long
            epoch waits once for its first batch, as a short one does, which says nothing of either.
    """
    loaders.train_batches.epoch = epoch
    starts = [] if starts is None else starts

    def batches() -> Iterator[Labelled]:
        starts.append(time.monotonic())
        for number, labelled in zip(range(steps), loaders.train, strict=False):
            if number == 1:
                synchronise(engine.device)
                starts.append(time.monotonic())
            yield labelled

    return train_one_epoch(engine, batches(), steps, epoch)


def synchronise(device: torch.device) -> None:
    """Wait for what was sent to the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(section: Section, flags: dict[str, Any]) -> dict[str, Any]:
    """Losses of the first steps on a few clips, from the same seeds, on the device and a CPU."""
    few = {**flags, "batch_size": COMPARED_CLIPS, "num_workers": 0, "micro_batch": "64"}
    few |= {"optim": "sgd", "learning_rate": RATE, "warmup": 0.0, "device": "cpu"}
    with in_float32():
        wanted = losses_of(section, few, torch.device("cpu"))
        found = losses_of(section, {**few, "device": section.device.type}, section.device)
    differences = [abs(a - b) for a, b in zip(wanted, found, strict=True)]
    figures = {"loss on the CPU": wanted[0], "difference": differences[0]}
    figures["later differences"] = max(differences[1:])
    line = f"the first loss differs by {differences[0]:.2g} from the CPU's, limit {SAME_LOSS}"
    return promise(differences[0] <= SAME_LOSS, line, figures)


def losses_of(section: Section, flags: dict[str, Any], device: torch.device) -> list[float]:
    """Losses of the first steps on one batch, without anything drawn on the device."""
    options = options_of(section, **flags)
    _, loaders, engine = engine_of(options, device)
    quiet(engine.model)
    engine.parallel.train()
    inputs, soft = augment(engine, next(iter(loaders.train)), torch.Generator().manual_seed(0))
    return [step(engine, inputs, soft) for _ in range(COMPARED_STEPS)]


def step(engine: Engine, inputs: Batch, soft: torch.Tensor) -> float:
    """A step on at most ``COMPARED_CLIPS`` clips; its loss."""
    loss = accumulate_gradient(engine, take(inputs, 0, COMPARED_CLIPS), soft[:, :COMPARED_CLIPS])
    update_weights(engine)
    return float(loss)
