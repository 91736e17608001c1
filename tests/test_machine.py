"""Which cores a process may use."""

import os
import platform
import subprocess
import sys

import pytest

from emotion import machine
from emotion.prediction.options import PredictOptions
from emotion.preprocessing.options import PreprocessOptions


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)


def test_a_process_has_the_cores_it_is_bound_to():
    assert machine.cores() == 16


@pytest.mark.parametrize(("ranks", "each"), [("4", 4), ("5", 3), ("64", 1)])
def test_torchruns_processes_share_them(monkeypatch, ranks, each):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert machine.cores() == each


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("400000 100000", 4), ("250000 100000", 3), ("max 100000", 16), ("damaged", 16)],
)
def test_a_containers_quota_is_a_limit(tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert machine.cores() == cores


@pytest.mark.parametrize(
    ("given", "ranks", "threads"),
    [("", "1", 16), ("3", "1", 3), ("0", "1", 16), ("4,2", "1", 16), ("1", "4", 4)],
)
def test_a_model_computes_on_the_threads_that_openmp_is_given_or_on_all_cores(
    monkeypatch, given, ranks, threads
):
    """torchrun tells its processes 1, whatever there is."""
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert machine.threads() == threads


def test_flags_start_from_what_this_process_may_use():
    """Their defaults are those of the moment of import: of this very process."""
    assert PredictOptions().num_workers == PreprocessOptions().num_workers


FAULTS = """
import resource, sys
import torch
from emotion.machine import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
for _ in range(20):  # until the heap has grown
    torch.ones(64 << 20, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(64 << 20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*words):
    """Of taking and freeing 64 MB four times more, in a process that has often done so."""
    command = [sys.executable, "-c", FAULTS, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_freed_memory_is_taken_again():
    assert page_faults("keep") < page_faults() / 10
