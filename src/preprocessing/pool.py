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
from pathlib import Path
from typing import Any

import torch

from src.corpora import Corpus
from src.errors import UserError
from src.feature_store import FeatureStore
from src.preprocessing.jobs import Job, process
from src.preprocessing.journal import Outcome
from src.preprocessing.pipeline import FeatureSettings, Tools

_worker: dict[str, Any] = {}


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
        _prepare_worker(*context)
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
    pool = ProcessPoolExecutor(size, multiprocessing.get_context("spawn"), _start_worker, context)
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


def _start_worker(*context: Any) -> None:
    """First thing in a worker: one thread, Ctrl-C left to the parent, no life without it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()
    _prepare_worker(*context)


def _prepare_worker(
    store: FeatureStore,
    class_names: tuple[str, ...],
    settings: FeatureSettings,
    weights: Path | None,
) -> None:
    _worker["context"] = (store, class_names, settings, Tools(weights))


def _work(job: Job) -> Outcome:
    return process(job, *_worker["context"])
