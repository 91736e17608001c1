"""Features to a trained model: ``python train.py --mode speech``. ``--help`` lists every flag."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from emotion.command_line import early, parse, run


def main() -> int:
    """Train, as the flags say; returns the exit code."""
    from emotion.registry import extend

    extend(early("extend"))
    from emotion.training.options import TrainOptions

    options = parse(TrainOptions, __doc__)
    from emotion.training.run import train

    return train(options)


if __name__ == "__main__":
    run(main)
