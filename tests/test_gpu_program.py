"""``benchmarks/gpu.py`` on a CPU, without the packages that a bare machine lacks."""

import json
import os
import subprocess
import sys

from src.paths import HOME

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
    done, found = run(tmp_path)
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


def test_a_section_without_time_fails_and_is_written_down(tmp_path):
    done, found = run(tmp_path, "--sections", "costs", "--minutes", "0.01")
    assert done.returncode == 1
    assert [part["status"] for part in found["sections"].values()] == ["failed"]
    assert found["sections"]["costs"]["error"] == "no time was left for it"
