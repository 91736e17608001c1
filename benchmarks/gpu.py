"""Everything that is promised of CUDA, in one program that needs no network and no corpus.

    python benchmarks/gpu.py --device cuda --out DIR              # at most 8 minutes on one GPU
    python benchmarks/gpu.py --device cpu --size dry --out DIR    # the same program, tiny

Features, clips and weights are drawn from seeds. Each section is a process of its own with a limit
of its own: one that fails, hangs or loses the device costs itself. ``gpu.json`` holds all figures
and tracebacks, ``gpu.md`` a table. The exit code is 1 where anything failed.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch

from benchmarks.gpu.rows import FAILED, OK, Section, shown
from benchmarks.gpu.sizes import SIZES, Sizes
from emotion.paths import HOME

SECTIONS = ("modes", "parallel", "preprocessing", "answers", "commands", "costs")
MINUTES = 8.0  # of the whole program
RESERVE = 5.0  # seconds that a section is given to come to an end by itself
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "opencv-python-headless")
PACKAGES += ("facenet-pytorch", "efficientnet-pytorch", "onnx", "onnxruntime", "onnxscript")
PACKAGES += ("transformers", "librosa", "albumentations", "av", "tensorboard", "psutil", "requests")


def main() -> int:
    """Run the sections one after another; write both files; 1 where anything failed."""
    arguments = parse()
    sizes = SIZES[arguments.size or ("full" if arguments.device == "cuda" else "dry")]
    if arguments.one:
        return run_here(arguments, sizes)
    arguments.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    found: dict[str, Any] = {"machine": machine(), "device": arguments.device, "size": sizes.name}
    found["sections"] = {}
    with tempfile.TemporaryDirectory(prefix="gpu_") as scratch:
        for name in arguments.sections:
            left = 60 * arguments.minutes - (time.monotonic() - started)
            found["sections"][name] = run_apart(arguments, name, sizes, Path(scratch), left)
            found["seconds"] = round(time.monotonic() - started, 1)
            write(arguments.out, found)  # after each: what is done is there
    failed = [name for name, part in found["sections"].items() if part["status"] != OK]
    print(f"{arguments.out / 'gpu.json'}: {found['seconds']} s, failed: {' '.join(failed) or '-'}")
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=list(SIZES), help="full on cuda, dry on cpu")
    parser.add_argument("--out", type=Path, default=HOME / "benchmarks" / "results")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rows", nargs="+", default=[], help="parts of their names; all without")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of all sections together")
    parser.add_argument("--one", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def run_here(arguments: argparse.Namespace, sizes: Sizes) -> int:
    """One section in this process."""
    until = time.monotonic() + arguments.seconds
    section = Section(
        arguments.one,
        sizes,
        torch.device(arguments.device),
        arguments.scratch,
        arguments.scratch / f"{arguments.one}.json",
        until,
        arguments.rows,
    )
    importlib.import_module(f"benchmarks.gpu.{arguments.one}").run(section)
    return 0


def run_apart(
    arguments: argparse.Namespace, name: str, sizes: Sizes, scratch: Path, left: float
) -> dict[str, Any]:
    """One section in a process of its own: its rows, and how it ended."""
    limit = min(sizes.budgets[name], left)
    print(f"{name} (at most {max(limit, 0):.0f} s)", flush=True)
    if limit <= RESERVE:
        return {"status": FAILED, "seconds": 0.0, "rows": [], "error": "no time was left for it"}
    command = [sys.executable, __file__, "--device", arguments.device, "--size", sizes.name]
    command += ["--one", name, "--scratch", str(scratch), "--seconds", str(limit - RESERVE)]
    command += ["--rows", *arguments.rows] if arguments.rows else []
    started = time.monotonic()
    error = finish(command, limit, scratch / f"{name}.log")
    path = scratch / f"{name}.json"
    rows = json.loads(path.read_text()) if path.is_file() else []
    nothing = not rows and not arguments.rows
    failed = error or nothing or any(row["status"] == FAILED for row in rows)
    part = {"status": FAILED if failed else OK, "seconds": round(time.monotonic() - started, 1)}
    return part | ({"error": error} if error else {}) | {"rows": rows}


def finish(command: list[str], limit: float, log: Path) -> str:
    """Run to the end or to the limit; what went wrong, with the last lines of its stderr."""
    environment = {**os.environ, "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=HOME, stderr=file, env=environment, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # its group: its loader processes too
            process.wait()
            return f"ended after {limit:.0f} s"
    return "" if code == 0 else f"exit code {code}: {log.read_text()[-2000:]}"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "gpus": gpus,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: installed(name) for name in PACKAGES},
    }


def installed(package: str) -> str | None:
    """Version of a package; None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write(folder: Path, found: dict[str, Any]) -> None:
    """``gpu.json`` and ``gpu.md``."""
    (folder / "gpu.json").write_text(json.dumps(found, indent=2) + "\n")
    (folder / "gpu.md").write_text(table(found))


def table(found: dict[str, Any]) -> str:
    """A Markdown table, one line per row, and a line for what ended a section."""
    gpus = ", ".join(found["machine"]["gpus"]) or "no GPU"
    torch_version = found["machine"]["versions"]["torch"]
    title = f"Size {found['size']}, device {found['device']}: {gpus}, torch {torch_version}, "
    lines = [title + f"{found['machine']['cores']} cores, {found['seconds']} s in all.", ""]
    lines += ["| section | row | status | figures |", "|---|---|---|---|"]
    for name, part in found["sections"].items():
        for row in part["rows"]:
            reason = row.get("reason") or shown(row)
            lines.append(f"| {name} | {row['row']} | {row['status']} | {cell(reason)} |")
        end = part.get("error", "").strip().splitlines()[-1:]
        words = f"{part['seconds']} s {' '.join(end)}"
        lines.append(f"| **{name}** | all | {part['status']} | {cell(words)} |")
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Words that stay within their cell."""
    return text.replace("|", "/").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
