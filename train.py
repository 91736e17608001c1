"""Features to a trained model: ``python train.py --mode speech``. ``--help`` lists every flag."""

from src.command_line import parse, run
from src.training.options import TrainOptions
from src.training.run import train

if __name__ == "__main__":
    run(lambda: train(parse(TrainOptions, __doc__)))
