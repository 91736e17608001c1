"""Features to a trained model: ``python train.py --mode speech``. ``--help`` lists every flag."""

from src.command_line import parse, run


def main() -> int:
    """Train, as the flags say; returns the exit code."""
    from src.training.options import TrainOptions

    options = parse(TrainOptions, __doc__)
    from src.training.run import train

    return train(options)


if __name__ == "__main__":
    run(main)
