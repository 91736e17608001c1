"""Clips to answers: ``python predict.py --input my.mp4``. See ``--help``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from emotion.scripts import predict

if __name__ == "__main__":
    predict()
