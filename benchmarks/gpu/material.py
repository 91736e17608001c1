"""What the sections work on: made-up features, and engines as ``train.py`` builds them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.rows import Section
from benchmarks.training import link
from emotion.inputs.store import FeatureStore
from emotion.lazy import Lazy
from emotion.training.loop import Engine
from emotion.training.options import TrainOptions
from emotion.training.run import build_engine
from emotion.training.setup import Loaders, Task, build_initial_model, build_task
from tests.features import make_features

albumentations = Lazy("albumentations")
TEXT_DIM = 200


def features_of(section: Section) -> Path:
    """The features folder of all sections, made once: few distinct clips under many names."""
    sizes, root = section.sizes, section.scratch / "features"
    if (root / "done").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    few = {"train": sizes.distinct, "val": min(14, sizes.distinct), "test": 14}
    store = make_features(
        root, clips=few, frames=sizes.frames, words=(8, 16), text_dim=TEXT_DIM, speakers=4
    )
    multiply(store, {"train": sizes.clips, "val": max(sizes.clips // 8, 7)})
    (root / "done").touch()
    return root


def multiply(store: FeatureStore, counts: dict[str, int]) -> None:
    """Clips of a split under further names, up to ``counts``."""
    for split, count in counts.items():
        real = store.read_manifest(split)
        records = [
            real[n % len(real)]._replace(id=f"{split}_{n:05d}", stem=f"{split}_{n:05d}")
            for n in range(count)
        ]
        for n, record in enumerate(records):
            link(store, split, real[n % len(real)], record)
        store.write_manifest(split, records)


def brightness() -> float:
    """The default, or 0 where its package is not installed."""
    try:
        return 0.2 if albumentations.__version__ else 0.0
    except ImportError:
        return 0.0


def options_of(section: Section, mode: str, **flags: Any) -> TrainOptions:
    """Flags of a run on the made-up features."""
    settings = {
        "exp_name": "gpu",
        "features_dir": str(features_of(section)),
        "logs_dir": str(section.scratch / "logs"),
        "num_workers": section.sizes.workers,
        "pretrained": "false",
        "brightness": brightness(),
        "device": section.device.type,
        "n_epoch": 1,
        **flags,
    }
    return TrainOptions(mode=mode, **settings)


def engine_of(options: TrainOptions, device: torch.device) -> tuple[Task, Loaders, Engine]:
    """A run's data and engine, with the flags of precision as ``train`` sets them."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.amp
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    task = build_task(options)
    loaders = Loaders(task, options, device)
    engine = build_engine(options, task, build_initial_model(options, task), loaders, device)
    return task, loaders, engine


def quiet(model: nn.Module) -> nn.Module:
    """Leave out whatever is drawn on the device: dropout of every kind."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        if isinstance(module, nn.LSTM):
            module.dropout = 0.0
        if hasattr(module, "_global_params"):  # EfficientNet's drop connect
            module._global_params = module._global_params._replace(drop_connect_rate=0.0)
        if hasattr(module, "modality_dropout"):
            module.modality_dropout = 0.0
    return model


@contextmanager
def in_float32() -> Iterator[None]:
    """No TF32 meanwhile."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
