"""How much of the machine does training use? Each mode's real loop against its bare model.

    python benchmarks/training.py --threads 1           # made-up features of 6 s clips
    python benchmarks/training.py --features_dir DIR    # of your own
    python benchmarks/training.py --first_step 44370    # from the shell to the first step

The real loop reads features, augments and trains as ``train.py`` does; the bare model is the same
model taking the same steps on one batch that lies in memory, augmented once. Both run in turn in
one process, so that their ratio holds on a machine that others use too. Each row is a process of
its own: its peak memory is its own.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch

from emotion import registry
from emotion.data.mixing import draw_mixture, mix_inputs, mix_inside
from emotion.inputs.spec_augment import spec_augment
from emotion.inputs.store import FeatureStore
from emotion.machine import cores, keep_freed_memory, threads
from emotion.models.devices import choose_device
from emotion.paths import HOME
from emotion.training.loop import (
    Engine,
    accumulate_gradient,
    augment,
    train_one_epoch,
    update_weights,
)
from emotion.training.options import TrainOptions
from emotion.training.run import build_engine
from emotion.training.setup import Loaders, build_initial_model, build_task
from tests.features import make_features

MODES: dict[str, dict[str, Any]] = {  # batches of 256 as in the README's workflow
    "speech B0": {"mode": "speech", "batch_size": 16},
    "face attention_lstm": {"mode": "face", "face_model": "attention_lstm", "batch_size": 256},
    "face resnet3d": {"mode": "face", "face_model": "resnet3d", "batch_size": 8},
    "text attention_lstm": {"mode": "text", "batch_size": 256},
    "multimodal B0": {"mode": "multimodal", "face_model": "attention_lstm", "batch_size": 16},
}
STEPS = {  # an epoch; of 0.1 s each there are more, as an epoch begins with waiting for a batch
    "speech B0": 8,
    "face attention_lstm": 12,
    "face resnet3d": 4,
    "text attention_lstm": 60,
    "multimodal B0": 8,
}
VARIANTS = ("fp32", "bf16", "channels_first")
FIRST_STEP = """
import sys, time
from emotion.command_line import parse
from emotion.training import loop, run
from emotion.training.options import TrainOptions
def stop(engine, real=loop.update_weights):
    real(engine)
    print(time.time())
    sys.stdout.flush()
    raise SystemExit
loop.update_weights = stop
run.train(parse(TrainOptions, ""))
"""


def measure(flags: dict[str, Any], variant: str, rounds: int) -> dict[str, float]:
    """One row: the real loop and the bare model in turn, and what is done on the way."""
    options = TrainOptions(pretrained="false", exp_name="benchmark", **flags)
    options.amp = variant == "bf16"
    torch.set_num_threads(threads())
    keep_freed_memory()  # as train.py does
    device = choose_device(options.device)
    task = build_task(options)
    loaders = Loaders(task, options, device)
    engine = build_engine(options, task, build_initial_model(options, task), loaders, device)
    if variant == "channels_first":
        for parameter in engine.model.parameters():
            parameter.data = parameter.data.contiguous()
    labelled = next(iter(loaders.train))
    inputs, soft = augment(engine, labelled, torch.Generator().manual_seed(0))
    steps = len(loaders.train_batches)
    bare, real = [], []
    engine.parallel.train()
    for number in range(rounds + 1):  # the first round warms up: workers and caches
        bare.append(seconds(device, lambda: bare_steps(engine, inputs, soft, steps)) / steps)
        loaders.train_batches.epoch = number
        epoch = partial(train_one_epoch, engine, loaders.train, steps, number)
        real.append(seconds(device, epoch) / steps)
    bare_step, real_step = statistics.median(bare[1:]), statistics.median(real[1:])
    return {
        "samples/s": options.batch_size / real_step,
        "of bare": statistics.median(b / r for b, r in zip(bare[1:], real[1:], strict=True)),
        "loader ms": 1000 * loader_seconds(loaders),
        "SpecAugment %": 100 * spec_augment_seconds(engine, labelled) / bare_step,
        "mixup %": 100 * mixup_seconds(engine, labelled) / bare_step,
        "peak MB": peak_bytes(device) / 1e6,
    }


def bare_steps(engine: Engine, inputs: Any, soft: torch.Tensor, steps: int) -> None:
    """Steps on one batch, without loader and augmentation."""
    for _ in range(steps):
        accumulate_gradient(engine, inputs, soft)
        update_weights(engine)


def seconds(device: torch.device, work: Callable[[], Any]) -> float:
    """How long ``work`` takes, on the device too."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def loader_seconds(loaders: Loaders, clips: int = 64) -> float:
    """CPU time to read, augment and collate one training clip."""
    dataset = loaders.train.dataset
    keys = [(0, index % len(dataset)) for index in range(clips)]
    for _ in range(2):  # once to fill the page cache
        started = time.process_time()
        loaders.train.collate_fn([dataset[key] for key in keys])
        spent = time.process_time() - started
    return spent / clips


def spec_augment_seconds(engine: Engine, labelled: Any, times: int = 10) -> float:
    """SpecAugment of one batch; 0 where there is no speech."""
    part = next((p for p in engine.augmentation.parts if p.kind == registry.SPECTROGRAM), None)
    if part is None:
        return 0.0
    stream, generator = labelled.inputs.streams[part.modality], torch.Generator().manual_seed(0)
    warp = len(engine.augmentation.parts) == 1
    work = lambda: [spec_augment(stream, generator, warp) for _ in range(times)]  # noqa: E731
    return seconds(engine.device, work) / times


def mixup_seconds(engine: Engine, labelled: Any, times: int = 10) -> float:
    """Mixup of one batch."""
    mixture = draw_mixture([len(labelled.ids)], 0.5, 1.0, torch.Generator().manual_seed(0))
    mix = mix_inputs if engine.augmentation.mix_inputs else mix_inside
    work = lambda: [mix(labelled.inputs, mixture) for _ in range(times)]  # noqa: E731
    return seconds(engine.device, work) / times


def peak_bytes(device: torch.device) -> int:
    """Most memory that was in use: on the GPU, or resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def first_step_seconds(clips: int, folder: Path, flags: list[str]) -> float:
    """From the shell to the end of the first step, for a features folder of ``clips`` clips."""
    features = folder / "large"
    make_large(features, clips, frames=(180, 390))
    shutil.rmtree(folder / "logs", ignore_errors=True)
    words = ["--features_dir", str(features), "--logs_dir", str(folder / "logs"), *flags]
    command = [sys.executable, "-c", FIRST_STEP, "--mode", "multimodal"]
    started = time.time()
    answer = subprocess.run(
        [*command, *words], cwd=HOME, check=True, capture_output=True, text=True
    )
    return float(answer.stdout.split()[-1]) - started


def make_large(root: Path, clips: int, frames: tuple[int, int]) -> None:
    """A features folder of many clips: hard links to few files, a manifest of that many rows."""
    shutil.rmtree(root, ignore_errors=True)
    few = {"train": 100, "val": 50}
    store = make_features(root, clips=few, frames=frames, words=(8, 16), text_dim=200)
    for split, count in {"train": clips, "val": max(clips // 8, 1)}.items():
        real = store.read_manifest(split)
        records = [
            real[n % len(real)]._replace(id=f"{n:05d}", stem=f"{n:05d}") for n in range(count)
        ]
        for n, record in enumerate(records):
            link(store, split, real[n % len(real)], record)
        store.write_manifest(split, records)


def link(store: FeatureStore, split: str, old: Any, new: Any) -> None:
    """A clip's files under another name."""
    for feature in registry.feature_names():
        source, target = (store.path(split, feature, r.stem, r.id) for r in (old, new))
        if source.exists() and not target.exists():
            os.link(source, target)


def made_up(scratch: Path, clips: int) -> Path:
    """Features of that many clips of 6 s."""
    features = scratch / str(clips)
    if not features.exists():
        make_large(features, clips, frames=(330, 390))
    return features


def run_row(name: str, variant: str, arguments: argparse.Namespace, scratch: Path) -> dict:
    """``measure`` in a process of its own."""
    clips = MODES[name]["batch_size"] * STEPS[name]
    features = arguments.features_dir or made_up(scratch, clips)
    flags = MODES[name] | {
        "features_dir": str(features),
        "num_workers": arguments.num_workers,
    }
    one = json.dumps([flags, variant, arguments.rounds])
    answer = subprocess.run(
        [sys.executable, __file__, "--one", one],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)},
    )
    row = {"mode": name, "variant": variant, **json.loads(answer.stdout.splitlines()[-1])}
    print(format_row(row), flush=True)
    return row


def format_row(row: dict[str, Any]) -> str:
    """A line of a Markdown table."""
    cells = [value if isinstance(value, str) else f"{value:.4g}" for value in row.values()]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table, and write it where ``--json`` says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features_dir", type=Path)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["fp32", "bf16"])
    parser.add_argument("--num_workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first_step", type=int, metavar="CLIPS")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*json.loads(arguments.one))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        results = measure_all(arguments, Path(scratch))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def measure_all(arguments: argparse.Namespace, scratch: Path) -> list[dict] | dict[str, float]:
    """All rows asked for, or the time to the first step."""
    if arguments.first_step:
        took = first_step_seconds(arguments.first_step, scratch, ["--num_workers", "1"])
        print(f"first step after {took:.1f} s, {arguments.first_step} training clips")
        return {"first_step_seconds": took}
    heading = ("mode", "variant", "samples/s", "of bare", "loader ms")
    heading += ("SpecAugment %", "mixup %", "peak MB")
    print(f"| {' | '.join(heading)} |\n|{'---|' * len(heading)}", flush=True)
    pairs = [(mode, variant) for mode in arguments.modes for variant in arguments.variants]
    return [run_row(mode, variant, arguments, scratch) for mode, variant in pairs]


if __name__ == "__main__":
    main()
