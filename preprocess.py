"""Clips to features: ``python3 preprocess.py`` makes features/ of qia2020/. See ``--help``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from emotion.scripts import preprocess

if __name__ == "__main__":
    preprocess()
