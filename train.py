"""Features to a trained model: ``python train.py --mode speech``. ``--help`` lists every flag."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from emotion.scripts import train

if __name__ == "__main__":
    train()
