"""The clips that have work left, dealt out to worker processes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from emotion.inputs.extraction import Extractor
from emotion.inputs.store import FeatureStore
from emotion.machine import allow_tf32, local_rank
from emotion.preprocessing.jobs import Job, lost, process
from emotion.preprocessing.journal import Outcome
from emotion.records import Corpus
from emotion.workers import Crew, Lost, answers

_worker: dict[str, Any] = {}


class Context(NamedTuple):
    """What every worker knows."""

    store: FeatureStore
    class_names: tuple[str, ...]
    settings: dict[str, Any]  # what features.json says
    options: Any  # the flags of preprocess.py


def device_of(worker: int, workers: int) -> str:
    """The device of this process's n-th worker: GPUs are dealt out in turn, over all ranks."""
    gpus = torch.cuda.device_count()
    return f"cuda:{(local_rank() * max(1, workers) + worker) % gpus}" if gpus else "cpu"


def outcomes(
    jobs: list[Job],
    corpus: Corpus,
    store: FeatureStore,
    settings: dict[str, Any],
    options: Any,
) -> Iterator[Outcome]:
    """Outcomes in the order in which the clips are done.

    A clip that kills its worker, or takes longer than ``--clip_timeout``, is a failed one. Without
    workers there is nobody to watch over the clips.

    Args:
        jobs: the clips.
        corpus: that they are of.
        store: where features go.
        settings: what features.json says of them.
        options: the flags of preprocess.py.
    """
    context = Context(store, corpus.class_names, settings, options)
    if options.num_workers == 0:
        _prepare_worker(0, 1, context)
        yield from map(_work, jobs)
        return
    size = min(options.num_workers, len(jobs))
    crew = Crew(_start_worker, (size, context), _work, options.clip_timeout)
    for answer in answers(jobs, size, crew):
        if isinstance(answer, Lost):
            answer = lost(answer.job, answer.reason, store, corpus.class_names, settings)
        yield answer


def _start_worker(worker: int, workers: int, context: Context) -> None:
    torch.set_num_threads(1)
    _prepare_worker(worker, workers, context)


def _prepare_worker(worker: int, workers: int, context: Context) -> None:
    allow_tf32(False)  # a GPU's faces are a CPU's
    extractor = Extractor(
        context.settings, context.options, device_of(worker, workers), staged=True
    )
    _worker["context"] = (context.store, context.class_names, extractor)


def _work(job: Job) -> Outcome:
    return process(job, *_worker["context"])
