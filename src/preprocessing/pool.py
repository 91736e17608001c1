"""Worker processes: one clip at a time each, on one thread."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait as wait_for
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch

from src.corpora import Corpus
from src.errors import UserError
from src.feature_store import FeatureStore
from src.preprocessing.jobs import Job, process
from src.preprocessing.journal import Outcome
from src.preprocessing.pipeline import FeatureSettings, Tools
from src.preprocessing.shards import local_processes, local_rank

_worker: dict[str, Any] = {}


def default_workers() -> int:
    """Processes for the cores this one may use, shared with torchrun's others on this machine."""
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, free // local_processes())


def device_of(worker: int, workers: int) -> str:
    """The device of this process's n-th worker: GPUs are dealt out in turn, over all ranks."""
    gpus = torch.cuda.device_count()
    return f"cuda:{(local_rank() * max(1, workers) + worker) % gpus}" if gpus else "cpu"


def outcomes(
    jobs: list[Job],
    corpus: Corpus,
    store: FeatureStore,
    settings: FeatureSettings,
    weights: Path | None,
    num_workers: int,
) -> Iterator[Outcome]:
    """Outcomes in the order in which the clips are done."""
    context = (store, corpus.class_names, settings, weights)
    if num_workers == 0 or len(jobs) <= 1:
        _prepare_worker(device_of(0, 1), *context)
        yield from map(_work, jobs)
        return
    with _pool(min(num_workers, len(jobs)), context) as pool:
        todo = iter(jobs)
        running = {pool.submit(_work, job) for job in islice(todo, 4 * num_workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(_work, job) for job in islice(todo, len(done))}
            yield from map(_result, done)


@contextmanager
def _pool(size: int, context: tuple) -> Iterator[ProcessPoolExecutor]:
    spawn = multiprocessing.get_context("spawn")
    started = spawn.Value("i", 0)
    pool = ProcessPoolExecutor(size, spawn, _start_worker, (started, size, *context))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _result(future: Future) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process died (out of memory?); run again, it goes on from there, with fewer "
            "--num_workers if it happens again"
        ) from None


def _start_worker(started: Synchronized, size: int, *context: Any) -> None:
    """First thing in a worker: one thread, Ctrl-C left to the parent, no life without it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()
    with started.get_lock():
        worker, started.value = started.value, started.value + 1
    _prepare_worker(device_of(worker, size), *context)


def _prepare_worker(
    device: str,
    store: FeatureStore,
    class_names: tuple[str, ...],
    settings: FeatureSettings,
    weights: Path | None,
) -> None:
    _worker["context"] = (store, class_names, settings, Tools(weights, device))


def _work(job: Job) -> Outcome:
    return process(job, *_worker["context"])
