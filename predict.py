"""Checkpoints and clips to answers: ``python predict.py --weights W --input CLIPS``. See --help."""

from src.command_line import parse, run


def main() -> int:
    """Answer, as the flags say; returns the exit code."""
    from src.prediction.options import PredictOptions

    options = parse(PredictOptions, __doc__)
    from src.prediction.run import predict

    return predict(options)


if __name__ == "__main__":
    run(main)
