"""The README's commands as they stand there, one epoch each, on made-up features."""

import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.material import brightness, features_of
from benchmarks.gpu.rows import LeftOut, Section, promise
from emotion.paths import HOME

SEED = re.compile(r"^python3? train\.py --mode (\w+) .*--n_epoch 100 .*>> logs\.txt$", re.MULTILINE)
TIMEOUT = 90  # seconds


def run(section: Section) -> None:
    """A row a command, in the order of the README: the last one reads the others' runs."""
    section.row("preprocess.py", preprocess)
    for command in commands():
        mode = re.search(r"--mode (\w+)", command)[1]
        if mode in section.sizes.commands:
            section.row(f"train.py --mode {mode}", partial(train, section, command, mode))


def commands() -> list[str]:
    """The four training commands of the workflow."""
    return [found[0] for found in SEED.finditer((HOME / "README.md").read_text("utf-8"))]


def preprocess() -> dict[str, Any]:
    """The first command decodes media; what it does on the device is a section of its own."""
    raise LeftOut("decoding media wants av; its networks are the section preprocessing")


def train(section: Section, command: str, mode: str) -> dict[str, Any]:
    """Run a command as typed, with these features, one epoch and no download."""
    words = shlex.split(command.removesuffix(">> logs.txt"))[1:]
    logs = section.scratch / "typed"
    answer = subprocess.run(
        [sys.executable, *words, *changes(section, mode, logs)],
        cwd=HOME,
        env=os.environ if section.on_gpu else os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if answer.returncode:
        raise RuntimeError(answer.stderr[-2000:])
    epoch = next(line for line in answer.stdout.splitlines() if line.startswith("Epoch"))
    notes = [line for line in answer.stderr.splitlines() if line.startswith("note:")]
    done = list((logs / mode).glob("*/result.json"))
    figures = {"epoch": epoch, "notes": notes, "flags": " ".join(changes(section, mode, logs))}
    device = torch.cuda.get_device_name(0) if section.on_gpu else "cpu"
    return promise(len(done) == 1, "there is no result.json", {**figures, "device": device})


def changes(section: Section, mode: str, logs: Path) -> list[str]:
    """Flags behind those of the README: the last of each counts."""
    flags: dict[str, Any] = {"features_dir": features_of(section), "logs_dir": logs}
    flags |= {"n_epoch": 1, "pretrained": "false"}
    if brightness() == 0.0:  # its package is not installed
        flags["brightness"] = 0.0
    if mode == "multimodal":
        names = {"speech": "vanila_effb4", "text": "attn_lstm", "face": "attn_lstm"}
        flags |= {f"{name}_load_weights": logs / name / run for name, run in names.items()}
    if not section.on_gpu:
        flags |= {"coeff": 0, "batch_size": section.sizes.batch}
        flags["num_workers"] = section.sizes.workers
    return [word for name, value in flags.items() for word in (f"--{name}", str(value))]
