"""What preprocessing costs, side by side with decoding alone and with a straightforward program.

    python benchmarks/preprocessing.py [CLIP ...] [--face CLIP] [--json FILE]

On the clips given, or on a generated one of 6.3 s, 1280 x 720, 30 frames per second; with
``--face`` also on 8 s of 512 x 512 that are made of a film of somebody's face:

- *plain decode* is ``ffmpeg -threads 1 -i CLIP -f null -``;
- *reference* is how one would write it first: moviepy's ``get_frame`` at every mel frame (62.5 a
  second), MTCNN at full size on every fourth, raw crops, every one embedded at 224 pixels;
- *fast* is this project, one worker on one thread, at 7.8 and at 15.6 crops per second, and with
  ``--align``.

Rows are measured in turn, ``--rounds`` times, and the median is shown. Times are CPU seconds unless
a column says otherwise: on a machine that does other things as well, they are what can be compared.
Without ``--vggface_weights`` the embedding network has drawn weights, which cost the same.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from facenet_pytorch import InceptionResnetV1

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from benchmarks.clips import ffmpeg, make_clip, repeat_clip, talking_head
from benchmarks.costs import Cost, clocked, median, peak_resident, row, stage, table
from benchmarks.reference import Reference
from emotion.clock import FRAME_SECONDS
from emotion.corpora.qia2020 import EMOTIONS
from emotion.inputs import audio, crop_vectors, faces, log_mel, media
from emotion.inputs.extraction import Extractor, describe
from emotion.inputs.store import FeatureStore
from emotion.inputs.video import probe, read_frames
from emotion.preprocessing import jobs
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.pool import outcomes
from emotion.records import Clip, Corpus, Labels

FAST = "fast, 7.8 crops/s"
ROWS = {
    FAST: {"face_stride": 8},
    "fast, 15.6 crops/s": {"face_stride": 4},
    "fast, 7.8 crops/s, aligned": {"face_stride": 8, "align": True},
}


# -- plain decode --------------------------------------------------------------------------------


def plain_decode(clip: Path) -> Cost:
    """Decode everything once, on one thread, and throw it away."""
    cost = Cost()
    with clocked(cost):
        ffmpeg("-threads", "1", "-i", str(clip), "-threads", "1", "-f", "null", "-")
    return cost


# -- this project --------------------------------------------------------------------------------


class Fast:
    """The project's own code, with a clock on each stage."""

    def __init__(self, weights: Path | None, **given: Any) -> None:
        options = flags(weights, **given)
        self.extractor = Extractor(describe(options), options)

    def run(self, clip: Path, folder: Path) -> Cost:
        """All features of a clip into ``folder``."""
        cost, store = Cost(), FeatureStore(folder)
        job = jobs.Job(as_clip(clip, clip.stem))
        with _watched(cost), clocked(cost):
            jobs.process(job, store, EMOTIONS, self.extractor)
        cost.bytes = store.path("all", "video", clip.stem).stat().st_size
        return cost


def flags(weights: Path | None, **given: Any) -> PreprocessOptions:
    """What preprocess.py would be given."""
    return PreprocessOptions(vggface_weights=str(weights or "none"), **given)


def as_clip(path: Path, stem: str) -> Clip:
    """A file as a corpus would list it."""
    return Clip(stem, stem, path, "all", None, Labels(), None)


@contextmanager
def _watched(cost: Cost) -> Iterator[None]:
    """Put a clock on the functions that make up each stage."""
    parts = [
        (media, "read_waveform", "audio"),
        (log_mel, "extract_speech", "audio"),
        (faces.FaceDetector, "detect", "detection"),
        (faces, "crop_face", "crops"),
        (faces, "aligned_face", "crops"),
        (faces, "encode_jpeg", "crops"),
        (crop_vectors, "embed_faces", "embedding"),
        (jobs, "_store", "writing"),
    ]
    with ExitStack() as stack:
        for owner, name, part in parts:
            stack.enter_context(patch.object(owner, name, _timed(getattr(owner, name), cost, part)))
        frames = _timed_iterator(media.read_frames, cost)
        stack.enter_context(patch.object(media, "read_frames", frames))
        yield


def _timed(function: Callable, cost: Cost, part: str) -> Callable:
    def run(*arguments: Any, **named: Any) -> Any:
        with stage(cost, part):
            return function(*arguments, **named)

    return run


def _timed_iterator(function: Callable, cost: Cost) -> Callable:
    def run(*arguments: Any) -> Iterator:
        source = iter(function(*arguments))
        while True:
            with stage(cost, "decode"):
                item = next(source, source)
            if item is source:
                return
            yield item

    return run


# -- quality -------------------------------------------------------------------------------------


def quality(clip: Path, fast: Fast, reference: Reference, wanted: np.ndarray) -> dict[str, float]:
    """Faces, crops and log-mel of the fast path against the reference's, over the whole clip."""
    info = probe(clip)
    times = np.arange(0, info.duration, 8 * FRAME_SECONDS)
    detector = fast.extractor.tools("video")
    track = faces.track_faces(times, read_frames(clip, times), detector)
    frames = list(read_frames(clip, times))
    expected = [None if frame is None else reference.look(frame) for frame in frames]
    found = [face is not None for face in expected]
    both = [i for i, face in enumerate(expected) if face is not None and track.found[i]]
    overlaps = [faces.overlap(track.box[i], expected[i].box) for i in both]
    extracted = fast.extractor.extract(as_clip(clip, "a"))
    return {
        "frames": len(times),
        "same_found": float(np.sum(np.array(found) == track.found)),
        "overlaps": overlaps,
        "psnr": _psnr(frames, track),
        "log_mel_db": _log_mel_difference(extracted.values.get("speech"), wanted),
    }


def _psnr(frames: list[np.ndarray | None], track: faces.FaceTrack) -> list[float]:
    """Stored crops against the same crops before coding, dB."""
    values = []
    stored = track.decode() if track.jpeg else np.zeros(0)
    for index in np.flatnonzero(track.found):
        exact = faces.crop_face(frames[index], track.box[index]).astype(np.float64)
        values.append(10 * np.log10(255**2 / np.mean((exact - stored[index]) ** 2)))
    return values


def _log_mel_difference(fast: np.ndarray | None, reference: np.ndarray) -> float:
    """Mean difference in dB over the frames that both have.

    Ffmpeg leaves out the silence before late sound, so the frames may lie one apart.
    """
    if fast is None:
        return 0.0
    pairs = [(fast[:, max(k, 0) :], reference[:, max(-k, 0) :]) for k in (-1, 0, 1)]
    return audio.DYNAMIC_RANGE * min(_mean_difference(*pair) for pair in pairs)


def _mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    length = min(one.shape[1], other.shape[1])
    return float(np.abs(one[:, :length].astype(np.float64) - other[:, :length]).mean())


# -- many clips ----------------------------------------------------------------------------------


def clips_per_second(clip: Path, workers: int, count: int, weights: Path | None) -> float:
    """Rate of a pool of ``workers`` once it runs: from the first clip of each to the last clip."""
    corpus = Corpus("benchmark", EMOTIONS, [as_clip(clip, f"{n}") for n in range(count)])
    options = flags(weights, num_workers=workers)
    settings = describe(options)
    todo = [jobs.Job(one) for one in corpus.clips]
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ):
        store = FeatureStore(Path(folder))
        done = [time.perf_counter() for _ in outcomes(todo, corpus, store, settings, options)]
    return (count - 2 * workers) / (done[-1] - done[2 * workers - 1])


def peak_memory(clip: Path, weights: Path | None) -> float:
    """Peak MB of a process of its own that makes all features of a clip."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_of_one, clip, weights).result()


def _peak_of_one(clip: Path, weights: Path | None) -> float:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        Fast(weights).run(clip, Path(folder))
    return peak_resident()


# -- all of it -----------------------------------------------------------------------------------


def measure(clip: Path, weights: Path, rounds: int, folder: Path) -> dict[str, Any]:
    """Costs of every row on one clip, and what the fast path's faces and sounds are worth."""
    reference = Reference(weights)
    fast = {name: Fast(weights, **given) for name, given in ROWS.items()}
    costs: dict[str, list[Cost]] = {"plain decode": [], **{name: [] for name in fast}}
    reference.sound(clip)  # unclocked: librosa compiles functions at their first call
    first, sound = reference.run(clip, folder)
    for name in fast:
        fast[name].run(clip, folder / "warm up")  # networks are loaded once a worker
    for _ in range(rounds):
        costs["plain decode"].append(plain_decode(clip))
        for name, program in fast.items():
            costs[name].append(program.run(clip, folder / name))
    rows = {name: median(runs) for name, runs in costs.items()} | {"reference": first}
    good = quality(clip, fast[FAST], reference, sound)
    return {"clip": clip.name, "seconds": probe(clip).duration, "costs": rows, "quality": good}


def goals(results: list[dict[str, Any]]) -> dict[str, float]:
    """The figures that have limits, over all clips."""

    def total(name: str, without: str = "") -> float:
        costs = [result["costs"][name] for result in results]
        return sum(cost.cpu - cost.stages.get(without, 0.0) for cost in costs)

    checks = [result["quality"] for result in results]
    overlaps = [value for check in checks for value in check["overlaps"]]
    psnr = [value for check in checks for value in check["psnr"]]
    return {
        "reference over fast, crops + log-mel": total("reference", "embedding")
        / total(FAST, "embedding"),
        "reference over fast, with embeddings (25 or more)": total("reference") / total(FAST),
        "largest clip, MB of crops in 6 s (at most 0.5)": max(
            6e-6 * result["costs"][FAST].bytes / result["seconds"] for result in results
        ),
        "crops, median PSNR in dB (above 38)": statistics.median(psnr or [0]),
        "crops, lowest PSNR in dB": min(psnr, default=0),
        "face found or not as the reference, % of frames (98 or more)": 100
        * sum(check["same_found"] for check in checks)
        / sum(check["frames"] for check in checks),
        "median IoU of boxes (0.85 or more)": statistics.median(overlaps or [0]),
        "lowest IoU of boxes": min(overlaps, default=0),
        "log-mel, mean difference in dB": max(check["log_mel_db"] for check in checks),
    }


def over_decode(results: list[dict[str, Any]]) -> dict[str, float]:
    """Crops and log-mel over plain decode, by clip and row."""
    ratios = {}
    for result in results:
        costs = result["costs"]
        for name in ROWS:
            own = costs[name].cpu - costs[name].stages["embedding"]
            what = f"{result['clip']}, {name}: crops + log-mel over plain decode"
            ratios[what] = own / costs["plain decode"].cpu
    return ratios


def pools(clip: Path, count: int, rounds: int, weights: Path | None) -> dict[str, float]:
    """Clips a second of one and of two workers, in turn."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers, values in rates.items():
            values.append(clips_per_second(clip, workers, count * workers, weights))
    one, two = (statistics.median(values) for values in rates.values())
    ratio = statistics.median(b / a for a, b in zip(*rates.values(), strict=True))
    return {"1 worker, clips/s": one, "2 workers, clips/s": two, "2 over 1 (1.7 or more)": ratio}


def drawn_weights(folder: Path) -> Path:
    """Weights of the embedding network that nobody trained."""
    torch.manual_seed(0)
    torch.save(InceptionResnetV1(classify=False).state_dict(), folder / "drawn.pt")
    return folder / "drawn.pt"


def main(options: argparse.Namespace) -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = options.vggface_weights or drawn_weights(folder)
        made = not options.clips and [make_clip(folder / "generated.mp4", 6.3)]
        clips = made or options.clips
        if options.face:
            clips = [*clips, talking_head(options.face, folder / "talking_head.mp4")]
        results = [measure(clip, weights, options.rounds, folder) for clip in clips]
        for result in results:
            print(table(result))
        figures = over_decode(results) | goals(results)
        figures |= pools(clips[0], options.pool_clips, options.rounds, None)
        long = repeat_clip(clips[0], folder / "long.mp4", round(600 / results[0]["seconds"]))
        figures["peak memory, MB"] = peak_memory(clips[0], weights)
        figures["peak memory of a 10-minute clip, MB (below 1500)"] = peak_memory(long, weights)
    print()
    for name, value in figures.items():
        print(row([name, f"{value:.4g}"]))
    if options.json:
        answer = {"clips": results, "figures": figures}
        options.json.write_text(json.dumps(answer, indent=2, default=vars) + "\n")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, help="clips in place of a generated one")
    parser.add_argument("--face", type=Path, help="a film of a face, for a row at 512 x 512")
    parser.add_argument("--rounds", type=int, default=5, help="each row is measured so often")
    parser.add_argument("--pool_clips", type=int, default=12, help="clips a worker of a pool")
    parser.add_argument("--vggface_weights", type=Path, help="file; drawn weights without")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    main(parse())
