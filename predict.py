"""Checkpoints and clips to answers: ``python predict.py --weights W --input CLIPS``. See --help."""

from src.command_line import parse, run
from src.prediction.options import PredictOptions
from src.prediction.run import predict

if __name__ == "__main__":
    run(lambda: predict(parse(PredictOptions, __doc__)))
