"""Clips to features: ``python3 preprocess.py`` makes features/ of qia2020/. See ``--help``."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from emotion.command_line import early, parse, run

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the pool uses the cores, one clip a process


def main() -> int:
    """Extract what is missing; returns the exit code."""
    from emotion.registry import extend

    extend(early("extend"))
    from emotion.preprocessing.options import PreprocessOptions

    options = parse(PreprocessOptions, __doc__)
    from emotion.preprocessing.run import preprocess

    return preprocess(options)


if __name__ == "__main__":
    run(main)
