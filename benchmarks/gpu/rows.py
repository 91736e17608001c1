"""A section's rows: each is measured by itself, and written down as soon as it is known."""

import gc
import json
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.sizes import Sizes

OK, FAILED, LEFT_OUT = "ok", "failed", "left out"


class BrokenPromiseError(AssertionError):
    """What was measured is not what is promised."""


class LeftOut(Exception):  # noqa: N818 - it is no error
    """A row that this machine cannot run; the message says what it lacks."""


@dataclass
class Section:
    """What one section works with, and what it has found so far."""

    name: str
    sizes: Sizes
    device: torch.device
    scratch: Path  # a folder that all sections share
    path: Path  # where the rows are written
    until: float  # of ``time.monotonic``: no row begins later
    wanted: list[str] = field(default_factory=list)  # parts of names of rows; all without
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def on_gpu(self) -> bool:
        """Whether this is no dry run."""
        return self.device.type == "cuda"

    def row(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Run ``work`` for a row's figures; whatever it raises is the row's, and others go on.

        A row that breaks its promise keeps its figures: they are the error's second argument.
        """
        if self.wanted and not any(part in name for part in self.wanted):
            return
        started = time.monotonic()
        entry: dict[str, Any] = {"row": name, "status": OK}
        if started > self.until:
            entry |= {"status": FAILED, "error": "no time was left for it"}
        else:
            try:
                entry |= work()
            except LeftOut as reason:
                entry |= {"status": LEFT_OUT, "reason": str(reason)}
            except BrokenPromiseError as error:
                figures = error.args[1] if len(error.args) > 1 else {}
                entry |= {"status": FAILED, **figures, "error": str(error.args[0])}
            except (Exception, SystemExit, KeyboardInterrupt):
                entry |= {"status": FAILED, "error": traceback.format_exc()}
        entry["seconds"] = round(time.monotonic() - started, 2)
        self.rows.append(entry)
        self.path.write_text(json.dumps(self.rows, indent=2) + "\n")
        print(f"  {name}: {entry['status']} {shown(entry)}", flush=True)
        self.clean_up()

    def clean_up(self) -> None:
        """Give memory back to the device, so that a row's peak is its own."""
        if self.on_gpu:
            gc.collect()
            with suppress(RuntimeError):
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()


def promise(holds: bool, line: str, figures: dict[str, Any]) -> dict[str, Any]:
    """The figures, where the promise holds.

    Raises:
        BrokenPromiseError: it does not.
    """
    if not holds:
        raise BrokenPromiseError(line, figures)
    return figures


def shown(entry: dict[str, Any]) -> str:
    """A row's figures on one line."""
    if entry.get("error"):
        return entry["error"].strip().splitlines()[-1]
    parts = []
    for name, value in entry.items():
        if name not in ("row", "status"):
            parts.append(f"{name} {f'{value:.4g}' if isinstance(value, float) else value}")
    return ", ".join(parts)
