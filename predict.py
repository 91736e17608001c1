"""Checkpoints and clips to answers: ``python predict.py --weights W --input CLIPS``. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from emotion.command_line import early, parse, run


def main() -> int:
    """Answer, as the flags say; returns the exit code."""
    from emotion.registry import extend

    extend(early("extend"))
    from emotion.prediction.options import PredictOptions

    options = parse(PredictOptions, __doc__)
    from emotion.prediction.run import predict

    return predict(options)


if __name__ == "__main__":
    run(main)
