"""What a network costs that is shown faces, one crop after another, on one core.

    python benchmarks/face_encoder.py NETWORK [NETWORK ...] --features_dir features_mine

NETWORK is what ``preprocess.py --face_encoder`` takes. The crops are those of all clips in the
folder. Times are CPU milliseconds a crop, the median of ``--rounds``; bytes are those of a clip of
6 s at one crop every 0.128 s.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from benchmarks.costs import row
from emotion.inputs.face_states import kept_of, open_network
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.store import FeatureStore, StoredClip

ROWS = math.ceil(6 / 0.128)


def tracks_of(store: FeatureStore) -> list[FaceTrack]:
    """The faces of all clips that show one."""
    records = ((split, record) for split in store.splits() for record in store.read_manifest(split))
    clips = [StoredClip(store, split, one) for split, one in records if one.state("video") == "ok"]
    return [clip.read("video") for clip in clips]


def milliseconds(work: Callable[[], Any], crops: int, rounds: int) -> float:
    """CPU time of a crop."""
    spent = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        spent.append(1e3 * (time.process_time() - started) / crops)
    return statistics.median(spent)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", help="as --face_encoder of preprocess.py")
    parser.add_argument("--features_dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    tracks = tracks_of(FeatureStore(options.features_dir))
    crops = np.concatenate([track.decode(track.found) for track in tracks])
    decoding = milliseconds(
        lambda: [track.decode(track.found) for track in tracks], len(crops), options.rounds
    )
    print(f"{len(crops)} crops of {len(tracks)} clips; to decode one takes {decoding:.2f} ms")
    print(row(["network", "output", "values", "ms a crop", "bytes of 6 s"]))
    for source in options.networks:
        network = open_network(*kept_of(source), "cpu")
        width = network.embed(crops[:1]).shape[1]
        spent = milliseconds(lambda n=network: n.embed(crops), len(crops), options.rounds)
        cells = [
            Path(network.source).name,
            network.output,
            width,
            f"{spent:.2f}",
            2 * width * ROWS + 128,
        ]
        print(row([str(cell) for cell in cells]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    main()
