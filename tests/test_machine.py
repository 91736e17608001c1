"""Which cores a process may use."""

import os

import pytest

from emotion import machine
from emotion.prediction.options import PredictOptions
from emotion.preprocessing.options import PreprocessOptions
from emotion.training.options import TrainOptions


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


def test_flags_start_from_what_this_process_may_use():
    """Their defaults are those of the moment of import: of this very process."""
    bound = {TrainOptions(mode="text").threads, PredictOptions().threads}
    assert bound == {PredictOptions().num_workers} == {PreprocessOptions().num_workers}
