"""What runs over a clip take, stage by stage, and the table of it."""

import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAGES = ("decode", "audio", "detection", "crops", "embedding", "writing")


@dataclass
class Cost:
    """What one run over one clip took."""

    cpu: float = 0.0  # seconds
    wall: float = 0.0
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    bytes: int = 0


@contextmanager
def clocked(cost: Cost) -> Iterator[None]:
    """Add the CPU and wall seconds of the block, the CPU seconds of its programs included."""
    start, wall = _cpu(), time.perf_counter()
    yield
    cost.cpu += _cpu() - start
    cost.wall += time.perf_counter() - wall


@contextmanager
def stage(cost: Cost, name: str) -> Iterator[None]:
    """Add the CPU seconds of the block to a stage."""
    start = time.process_time()
    yield
    cost.stages[name] += time.process_time() - start


def _cpu() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def median(runs: list[Cost]) -> Cost:
    """Median of each figure."""
    stages = {name: statistics.median(run.stages[name] for run in runs) for name in STAGES}
    cpu, wall = (statistics.median(getattr(r, name) for r in runs) for name in ("cpu", "wall"))
    return Cost(cpu, wall, stages, runs[0].bytes)


def table(result: dict[str, Any]) -> str:
    """The costs of one clip as a Markdown table."""
    heads = ("", *STAGES, "all, CPU s", "all, wall s", "x plain decode", "crops MB / 6 s")
    lines = [f"\n{result['clip']}, {result['seconds']:.1f} s\n", row(heads), row(["---"] * 11)]
    plain = result["costs"]["plain decode"].cpu
    for name, cost in result["costs"].items():
        stages = [f"{cost.stages[part]:.3f}" if cost.bytes else "" for part in STAGES]
        size = f"{6e-6 * cost.bytes / result['seconds']:.2f}" if cost.bytes else ""
        lines.append(
            row(
                [
                    name,
                    *stages,
                    f"{cost.cpu:.2f}",
                    f"{cost.wall:.2f}",
                    f"{cost.cpu / plain:.2f}",
                    size,
                ]
            )
        )
    return "\n".join(lines)


def row(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def peak_resident() -> float:
    """Peak MB of this process, on Linux.

    Of the kernel's own account: ``getrusage`` counts in what the parent held when it was started.
    """
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024
