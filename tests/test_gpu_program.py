"""``benchmarks/gpu.py`` on a CPU, without the packages that a bare machine lacks."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import torch

from benchmarks.gpu.rows import Section, promise
from benchmarks.gpu.sizes import SIZES
from emotion.paths import HOME

ABSENT = ("librosa", "albumentations", "av", "moviepy", "imageio", "tensorboard")
BLOCKER = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ImportError(f"{{name}} is not on a bare machine")
sys.meta_path.insert(0, Absent())
"""


def run(folder, *flags):
    """The program in its smallest size; its exit code and ``gpu.json``."""
    blocker = folder / "blocker"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(BLOCKER)
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--size", "tiny"]
    done = subprocess.run(
        [*command, "--out", str(folder), *flags],
        cwd=HOME,
        env={**os.environ, "PYTHONPATH": str(blocker), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    return done, json.loads((folder / "gpu.json").read_text())


def test_every_section_runs_where_nothing_reads_media(tmp_path):
    done, found = run(tmp_path, "--minutes", "20")  # other tests run beside it
    failed = [
        (name, row.get("row"), row.get("error"))
        for name, part in found["sections"].items()
        for row in (*part["rows"], part)
        if row["status"] == "failed"
    ]
    assert not failed
    assert done.returncode == 0, done.stderr
    assert set(found["sections"]) == {
        *("modes", "parallel", "preprocessing", "answers", "commands", "costs")
    }
    assert all(part["rows"] and part["seconds"] > 0 for part in found["sections"].values())
    table = (tmp_path / "gpu.md").read_text().splitlines()
    assert sum(line.startswith("| modes |") for line in table) == len(
        found["sections"]["modes"]["rows"]
    )


def program():
    """``benchmarks/gpu.py`` as a module; ``benchmarks.gpu`` is the package of its sections."""
    spec = importlib.util.spec_from_file_location("gpu_program", HOME / "benchmarks" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_section_without_time_fails_and_is_written_down(tmp_path):
    gpu = program()
    part = gpu.run_apart(None, "costs", SIZES["tiny"], tmp_path, 1.0)
    assert (part["status"], part["error"]) == ("failed", "no time was left for it")
    found = {"machine": gpu.machine(), "device": "cpu", "size": "tiny", "seconds": 1.0}
    gpu.write(tmp_path, found | {"sections": {"costs": part}})
    assert "| **costs** | all | failed | 0.0 s no time was left for it |" in (
        (tmp_path / "gpu.md").read_text().splitlines()
    )


def test_a_section_that_hangs_or_dies_is_ended(tmp_path):
    gpu = program()
    hang = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert gpu.finish(hang, 0.2, tmp_path / "log") == "ended after 0 s"
    die = [sys.executable, "-c", "raise SystemExit('lost the device')"]
    assert gpu.finish(die, 20.0, tmp_path / "log") == "exit code 1: lost the device\n"


def test_a_row_that_fails_costs_itself(tmp_path):
    def broken():
        raise ValueError("no kernel image")

    path = tmp_path / "rows.json"
    until = time.monotonic() + 60
    section = Section("x", SIZES["tiny"], torch.device("cpu"), tmp_path, path, until)
    section.row("broken", broken)
    section.row("promised", lambda: promise(False, "too slow", {"rate": 0.5}))
    section.row("good", lambda: promise(True, "", {"rate": 1.0}))
    section.until = 0.0
    section.row("late", dict)
    rows = json.loads(path.read_text())
    assert [row["status"] for row in rows] == ["failed", "failed", "ok", "failed"]
    assert "ValueError: no kernel image" in rows[0]["error"]
    assert "Traceback" in rows[0]["error"]
    assert (rows[1]["rate"], rows[1]["error"]) == (0.5, "too slow")
    assert rows[3]["error"] == "no time was left for it"
