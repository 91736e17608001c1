"""The three command lines: ``preprocess.py``, ``train.py`` and ``predict.py`` beside the package,
``emotion-preprocess``, ``emotion-train`` and ``emotion-predict`` where it is installed.

Each imports what it needs when it is sure what is wanted: ``--help`` waits for no network library.
"""

import os
from typing import NoReturn

from emotion.command_line import early, parse, run
from emotion.machine import keep_freed_memory


def preprocess() -> NoReturn:
    """Clips to features: ``python3 preprocess.py`` makes features/ of qia2020/. See ``--help``."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the pool uses the cores, one clip a process
    run(_preprocess)


def train() -> NoReturn:
    """Features to a trained model: ``python train.py --mode speech``. ``--help`` lists all."""
    run(_train)


def predict() -> NoReturn:
    """Clips to answers: ``python predict.py --input my.mp4``, by the best of weights/, or by
    ``--weights`` of one's own. See ``--help``.
    """
    run(_predict)


def _preprocess() -> int:
    _extend()
    from emotion.preprocessing.options import PreprocessOptions

    options = parse(PreprocessOptions, _words(preprocess))
    from emotion.preprocessing.run import preprocess as work

    return work(options)


def _train() -> int:
    _extend()
    from emotion.training.options import TrainOptions

    options = parse(TrainOptions, _words(train))
    from emotion.training.run import train as work

    keep_freed_memory()
    return work(options)


def _predict() -> int:
    _extend()
    from emotion.prediction.options import PredictOptions

    options = parse(PredictOptions, _words(predict))
    from emotion.prediction.run import predict as work

    keep_freed_memory()
    return work(options)


def _extend() -> None:
    """Take up ``--extend`` before it is known which flags there are."""
    from emotion.registry import extend

    extend(early("extend"))


def _words(script: object) -> str:
    return " ".join((script.__doc__ or "").split())
