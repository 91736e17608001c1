"""Clips to features: ``python3 preprocess.py`` makes features/ of qia2020/. See ``--help``."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the pool uses the cores, one clip a process

from src.command_line import parse, run
from src.preprocessing.run import PreprocessOptions, preprocess

if __name__ == "__main__":
    run(lambda: preprocess(parse(PreprocessOptions, __doc__)))
