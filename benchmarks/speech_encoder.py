"""What a pretrained network costs that hears speech, on one core.

    python benchmarks/speech_encoder.py ENCODER [ENCODER ...] [--seconds 6]

ENCODER is what ``preprocess.py --speech_encoder`` takes. It hears noise of ``--seconds`` at its own
length, as preprocessing has it, and filled up to 30 s, as its own library has it. Times are CPU
seconds for a second of sound, the median of ``--rounds``; bytes are those that a clip of that
length takes on disk.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from benchmarks.costs import row
from emotion.clock import SAMPLE_RATE
from emotion.frozen.source import SPEECH_ENCODER, whole_numbers
from emotion.frozen.speech_states import MOST_SECONDS
from emotion.inputs.speech_states import feature, open_encoder, to_cells


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """CPU time, the median of some rounds."""
    spent = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return statistics.median(spent)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoders", nargs="+", help="as --speech_encoder of preprocess.py")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    whole = np.random.default_rng(0).normal(0, 0.1, round(MOST_SECONDS * SAMPLE_RATE))
    whole = whole.astype(np.float32)
    heard = whole[: round(options.seconds * SAMPLE_RATE)]
    print(row(["encoder", "layers", "s a second of sound", "padded, times as long", "bytes"]))
    for given in options.encoders:
        source, layers = whole_numbers(SPEECH_ENCODER, given)
        encoder = open_encoder(source, layers, "cpu")
        own = seconds(lambda e=encoder: e(heard), options.rounds)
        padded = seconds(lambda e=encoder: e(whole), max(1, options.rounds // 3))
        file = io.BytesIO()
        feature("speech:any").write(file, to_cells(encoder(heard), 0.0))
        cells = [Path(source).name, " ".join(map(str, encoder.layers))]
        cells += [f"{own / options.seconds:.3f}", f"{padded / own:.1f}", f"{file.tell():,}"]
        print(row(cells))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
