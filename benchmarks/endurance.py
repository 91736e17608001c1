"""Thousands of clips in one run, killed half way and started again.

    python benchmarks/endurance.py [--clips 5000] [--distinct 300] [--workers 2]

Links to generated clips of about a second are preprocessed by ``preprocess.py``. At half of them
the process is killed (SIGKILL), and the same command is run again. Printed: clips/s and memory over
both runs, what the second did, and whether every file is whole and as its twins are.
"""

import argparse
import hashlib
import os
import re
import signal
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from benchmarks.clips import make_clip
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.paths import HOME

SIZE = (320, 240)
PARTS = 8  # of the run, each with its own rate


class Sample(NamedTuple):
    """The state of a run."""

    seconds: float
    clips: int
    megabytes: float  # of all its processes, resident
    cpu: float  # seconds, of all its processes


def make_corpus(folder: Path, clips: int, distinct: int) -> None:
    """``clips`` links to ``distinct`` clips in the QIA2020 layout."""
    masters = folder / "masters"
    masters.mkdir(parents=True)
    for number in range(distinct):
        make_clip(masters / f"{number}.mp4", 0.8 + 0.4 * (number % 3), number, SIZE)
    (folder / "corpus" / "train").mkdir(parents=True)
    words = masters / "words.npz"
    np.savez(words, word_embed=np.ones((4, 200), np.float32))
    for number in range(clips):
        link = folder / "corpus" / "train" / f"{number:05}-hap-hap-hap.mp4"
        link.symlink_to(masters / f"{number % distinct}.mp4")
        link.with_name(f"{number:05}.npz").symlink_to(words)


def run(folder: Path, features: Path, workers: int, stop_at: int | None = None) -> list[Sample]:
    """Run preprocess.py to its end, or kill it at ``stop_at`` clips; its state over time."""
    command = [
        *(sys.executable, "preprocess.py", "--data_dir", str(folder / "corpus")),
        *("--features_dir", str(features), "--vggface_weights", "none"),
        *("--num_workers", str(workers)),
    ]
    journal, samples = features / ".journal.jsonl", []
    start = time.perf_counter()
    with (folder / "log.txt").open("w") as log:
        process = psutil.Popen(command, cwd=HOME, stdout=log, stderr=log)
    while process.poll() is None:
        family = [process, *process.children(recursive=True)]
        done = journal.read_bytes().count(b"\n") if journal.exists() else 0
        samples.append(Sample(time.perf_counter() - start, done, *_use(family)))
        if stop_at and done >= stop_at:
            process.send_signal(signal.SIGKILL)
            break
        try:
            process.wait(1)
        except psutil.TimeoutExpired:
            continue
    process.wait()
    psutil.wait_procs(family, timeout=60)  # orphaned workers end by themselves
    return samples


def _use(family: list[psutil.Process]) -> tuple[float, float]:
    memory = cpu = 0.0
    for process in family:
        try:
            memory += process.memory_info().rss / 2**20
            cpu += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return memory, cpu


def describe(samples: list[Sample]) -> str:
    """A line for each part of a run, as a Markdown table."""
    lines = ["| clips | clips/s | CPU s a clip | memory, MB |", "|---|---|---|---|"]
    busy = [sample for sample in samples if sample.clips > samples[0].clips] or samples
    edges = np.linspace(0, len(busy) - 1, PARTS + 1).astype(int)
    for first, last in pairwise(edges):
        a, b = busy[first], busy[last]
        if b.clips > a.clips:
            rate = (b.clips - a.clips) / (b.seconds - a.seconds)
            cpu = (b.cpu - a.cpu) / (b.clips - a.clips)
            peak = max(sample.megabytes for sample in busy[first : last + 1])
            lines.append(f"| {a.clips}-{b.clips} | {rate:.2f} | {cpu:.3f} | {peak:.0f} |")
    return "\n".join(lines)


def check(features: Path, clips: int, distinct: int) -> str:
    """Read every file; links to the same clip must have the same bytes."""
    store = FeatureStore(features)
    records = store.read_manifest("train")
    seen: dict[tuple[str, int], str] = {}
    for record in records:
        for modality in ("speech", "video"):
            StoredClip(store, "train", record).read(modality)
            content = store.path("train", modality, record.stem).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            source = (modality, int(record.id) % distinct)
            if seen.setdefault(source, digest) != digest:
                return f"{record.stem}: {modality} differs from that of the same clip"
    left = [path.name for path in features.rglob(".*") if path.is_file()]
    failures = len(store.read_failures("train"))
    return (
        f"{len(records)} of {clips} clips in the manifest, {failures} failures, all files whole, "
        f"links to one clip alike; left over: {left or 'nothing'}"
    )


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Make, run, kill, run again, check."""
    make_corpus(folder, options.clips, options.distinct)
    features = folder / "features"
    first = run(folder, features, options.workers, options.clips // 2)
    print(f"first run, killed at {first[-1].clips} clips\n\n{describe(first)}\n")
    second = run(folder, features, options.workers)
    print(f"second run\n\n{describe(second)}\n")
    said = (folder / "log.txt").read_text()
    print(re.findall(r"^qia2020: .*", said, re.MULTILINE)[-1].replace(str(folder), "DIR"))
    print(check(features, options.clips, options.distinct))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=5000)
    parser.add_argument("--distinct", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
