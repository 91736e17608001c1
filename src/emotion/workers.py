"""Processes that work on one job at a time: one that dies or hangs costs its job, nothing else."""

import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from tqdm import tqdm

from emotion.errors import UserError
from emotion.processes import end_with_parent

START = 600.0  # seconds a worker has to import what it needs, on a disk that is far away
GRACE = 10.0  # seconds a worker has to finish its job when the run is over


class Crew(NamedTuple):
    """What all workers do; functions are those of a module, as a new process imports them."""

    prepare: Callable[..., None]  # called first, with the worker's number and ``arguments``
    arguments: tuple
    work: Callable[[Any], Any]  # a job to its answer
    timeout: float  # seconds a job may take; 0 for no limit


class Lost(NamedTuple):
    """A job without an answer."""

    job: Any
    reason: str


@dataclass
class _Worker:
    """A process and this end of its pipe."""

    number: int
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    job: Any = None
    turn: int = 0  # the job's number
    ready: bool = False
    deadline: float = float("inf")


def answers(jobs: Iterable[Any], size: int, crew: Crew) -> Iterator[Any]:
    """Answers in the order in which they come; ``Lost`` for a job whose process died or hung.

    Raises:
        UserError: a process died before it was ready for work.
        Exception: whatever a job raised.
    """
    for _, answer in _turns(jobs, size, crew):
        yield answer


def in_order(jobs: Iterable[Any], size: int, crew: Crew, ahead: int) -> Iterator[Any]:
    """As ``answers``, in the order of the jobs; fewer than ``ahead`` wait for an earlier one.

    Raises:
        UserError: a process died before it was ready for work.
        Exception: whatever a job raised.
    """
    waiting: dict[int, Any] = {}
    following = 0
    for turn, answer in _turns(jobs, size, crew, ahead):
        waiting[turn] = answer
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def _turns(jobs: Iterable[Any], size: int, crew: Crew, ahead: int = 0) -> Iterator[tuple[int, Any]]:
    """Answers with the numbers of their jobs; no job is begun ``ahead`` of one still under way."""
    todo = deque(enumerate(jobs))
    with _started(crew, size) as workers:
        while todo or any(worker.job is not None for worker in workers):
            patience = max(0.0, min(worker.deadline for worker in workers) - time.monotonic())
            pipes = [worker.pipe for worker in workers]
            told = wait(pipes, None if patience == float("inf") else patience)
            for worker in workers:
                # who was given work since may be done by now: whoever took the answers took time
                has_told = worker.pipe in told or worker.pipe.poll()
                if has_told or worker.deadline <= time.monotonic():
                    yield from _hear(worker, has_told, crew)
                    _give(workers, todo, crew.timeout, ahead)


def _hear(worker: _Worker, has_told: bool, crew: Crew) -> Iterator[tuple[int, Any]]:
    """What a worker says, or that it says no more: then another takes its place."""
    turn = worker.turn
    try:
        if not has_told:
            limit = f"{crew.timeout:g} s (--clip_timeout)" if worker.ready else f"{START:g} s"
            raise TimeoutError(f"took longer than {limit}")
        kind, content = worker.pipe.recv()
    except (EOFError, OSError) as error:
        job, was_ready = worker.job, worker.ready
        reason = str(error) if isinstance(error, TimeoutError) else _cause_of_death(worker)
        _end(worker, 0.0)
        if not was_ready:
            raise UserError(
                f"a worker process could not start ({reason}); give fewer --num_workers"
            ) from None
        vars(worker).update(vars(_start(worker.number, crew)))
        yield turn, Lost(job, reason)
        return
    worker.ready, worker.job, worker.deadline = True, None, float("inf")
    if kind == "error":
        raise content
    if kind == "answer":
        yield turn, content


def _give(workers: list[_Worker], todo: deque, timeout: float, ahead: int) -> None:
    """The next jobs to the workers that are ready for one."""
    for worker in workers:
        under_way = [other.turn for other in workers if other.job is not None]
        if not todo or (ahead and under_way and todo[0][0] >= min(under_way) + ahead):
            return
        if worker.ready and worker.job is None:
            worker.turn, worker.job = todo.popleft()
            worker.deadline = time.monotonic() + timeout if timeout else float("inf")
            with suppress(OSError):  # it died meanwhile; ``_hear`` will find that out
                worker.pipe.send(worker.job)


@contextmanager
def _started(crew: Crew, size: int) -> Iterator[list[_Worker]]:
    workers = [_start(number, crew) for number in range(size)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.pipe.close()  # which tells it to go
        until = time.monotonic() + GRACE
        for worker in workers:
            _end(worker, max(0.0, until - time.monotonic()) if worker.job is not None else 0.0)


def _start(number: int, crew: Crew) -> _Worker:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, number, crew), daemon=True)
    process.start()
    there.close()
    return _Worker(number, process, here, deadline=time.monotonic() + START)


def _end(worker: _Worker, grace: float) -> None:
    worker.process.join(grace)
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _cause_of_death(worker: _Worker) -> str:
    worker.process.join(GRACE)
    code = worker.process.exitcode
    if code is None or code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name
    memory = "; out of memory?" if -code == signal.SIGKILL else ""
    return f"its process died of {name}{memory}"


def _serve(pipe: Connection, number: int, crew: Crew) -> None:
    """A worker's life: Ctrl-C left to the parent, no life without it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    tqdm.set_lock(threading.RLock())  # a library's bar would make one that outlives a killed worker
    try:
        crew.prepare(number, *crew.arguments)
        pipe.send(("ready", None))
        while True:
            pipe.send(_answer(crew.work, pipe.recv()))
    except (EOFError, OSError):  # the run is over
        return


def _answer(work: Callable[[Any], Any], job: Any) -> tuple[str, Any]:
    try:
        return "answer", work(job)
    except Exception as error:
        return "error", error
