"""Words of RAVDESS's two sentences: how many are heard wrong, how fast, and whether they lie in the
speech.

    python benchmarks/words.py MODEL --data_dir RAVDESS --clips 150 --lines words.jsonl

MODEL is what ``preprocess.py --transcribe`` takes. Errors are those of the words in small letters
without marks (substituted, left out, put in, over the words that were said), by emotion and
intensity; a word lies in the speech where its middle is in the interval that preprocessing trims a
clip to. Time is of the CPU, a second of sound, one thread a worker; ``--workers 1 2`` also measures
clips a second of so many processes side by side, and the memory of each.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import multiprocessing
import re
import resource
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from benchmarks.costs import row
from emotion.clock import SAMPLE_RATE
from emotion.corpora.ravdess import load
from emotion.frozen.transcriber import Transcriber
from emotion.inputs.audio import extract_speech
from emotion.inputs.spoken import Spoken
from emotion.inputs.video import read_waveform
from emotion.records import Clip

SENTENCES = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
INTENSITIES = {"01": "normal", "02": "strong"}


class Heard(NamedTuple):
    """What came of one clip."""

    stem: str
    emotion: str
    intensity: str
    text: str
    errors: int
    words: int  # that were said
    inside: int  # of those heard, in the speech
    found: int  # that were heard
    seconds: float
    cpu: float  # seconds


def words_of(text: str) -> list[str]:
    """In small letters, without marks."""
    return re.findall(r"[\w']+", text.lower())


def word_errors(said: list[str], heard: list[str]) -> int:
    """Fewest words to substitute, leave out or put in (Levenshtein 1966)."""
    costs = np.arange(len(heard) + 1)
    for number, word in enumerate(said, 1):
        before, costs = costs, np.empty_like(costs)
        costs[0] = number
        for place, other in enumerate(heard, 1):
            swapped = before[place - 1] + (word != other)
            costs[place] = min(swapped, before[place] + 1, costs[place - 1] + 1)
    return int(costs[-1])


def listen(hear: Transcriber, clip: Clip, class_names: tuple[str, ...]) -> Heard:
    """Transcribe one clip and count."""
    waveform = read_waveform(clip.path)
    began = time.process_time()
    spoken = hear(waveform)
    cpu = time.process_time() - began
    fields = clip.path.stem.split("-")
    said = SENTENCES[fields[4]].split()
    return Heard(
        stem=clip.stem,
        emotion=class_names[clip.labels.speech],
        intensity=INTENSITIES[fields[3]],
        text=spoken.text,
        errors=word_errors(said, words_of(spoken.text)),
        words=len(said),
        inside=inside(spoken, waveform),
        found=len(spoken.words),
        seconds=len(waveform) / SAMPLE_RATE,
        cpu=cpu,
    )


def listen_to_all(
    hear: Transcriber, clips: list[Clip], class_names: tuple[str, ...], lines: Path | None
) -> list[Heard]:
    """Transcribe clips, but those of which ``lines`` has what came of them; new ones are added."""
    known: dict[str, Heard] = {}
    if lines and lines.is_file():
        done = (Heard(**json.loads(line)) for line in lines.read_text().splitlines())
        known = {one.stem: one for one in done}
    with open(lines or os.devnull, "a", encoding="utf-8") as file:
        for clip in tqdm(clips, unit="clip"):
            if clip.stem not in known:
                known[clip.stem] = listen(hear, clip, class_names)
                print(json.dumps(known[clip.stem]._asdict()), file=file, flush=True)
    return [known[clip.stem] for clip in clips]


def inside(spoken: Spoken, waveform: np.ndarray) -> int:
    """Words whose middle lies in the trimmed speech."""
    speech = extract_speech(waveform)
    if speech is None:
        return 0
    return sum(speech.start <= word.middle <= speech.end for word in spoken.words)


def print_table(heard: list[Heard]) -> None:
    """Word error rate by emotion and intensity, in percent, with the clips that are perfect."""
    groups: dict[str, list[Heard]] = defaultdict(list)
    for one in heard:
        groups[one.emotion].append(one)
    print(row(["emotion", "clips", "WER %", "normal", "strong", "clips without an error %"]))
    for name, own in [*sorted(groups.items()), ("all", heard)]:
        rates = [_rate([o for o in own if o.intensity == k]) for k in INTENSITIES.values()]
        perfect = 100 * statistics.mean(o.errors == 0 for o in own)
        print(row([name, str(len(own)), _rate(own), *rates, f"{perfect:.1f}"]))


def _rate(heard: list[Heard]) -> str:
    said = sum(one.words for one in heard)
    return f"{100 * sum(one.errors for one in heard) / said:.1f}" if said else "-"


def measure_workers(model: str, clips: list[Clip], workers: int) -> None:
    """Clips of so many processes side by side: their speed, and the memory of each."""
    parts = [[str(clip.path) for clip in clips[number::workers]] for number in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.starmap(_work, [(model, part[:1]) for part in parts])  # opened
        began = time.perf_counter()
        memory = pool.starmap(_work, [(model, part) for part in parts])
        spent = time.perf_counter() - began
    sound = sum(len(read_waveform(clip.path)) for clip in clips) / SAMPLE_RATE
    print(
        f"{workers} workers: {spent / sound:.2f} s for a second of sound, "
        f"{max(memory) / 1e6:.2f} GB each"
    )


_here: dict[str, Transcriber] = {}


def _work(model: str, paths: list[str]) -> int:
    torch.set_num_threads(1)
    if model not in _here:
        _here[model] = Transcriber(model, "en")
    for path in paths:
        _here[model](read_waveform(Path(path)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=0, help="a seeded sample; 0 takes all")
    parser.add_argument("--language", default="auto")
    parser.add_argument("--workers", type=int, nargs="*", default=[], help="such as 1 2")
    parser.add_argument(
        "--lines", type=Path, help="a line a clip; those it has are not heard again"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = load(options.data_dir)
    clips = list(corpus.clips)
    if options.clips:
        drawn = np.random.default_rng(0).permutation(len(clips))[: options.clips]
        clips = [clips[k] for k in sorted(drawn)]
    hear = Transcriber(options.model, options.language)
    heard = listen_to_all(hear, clips, corpus.class_names, options.lines)
    print_table(heard)
    found = sum(one.found for one in heard)
    share = 100 * sum(one.inside for one in heard) / max(found, 1)
    print(f"{share:.1f} % of {found} words lie in the speech")
    spent = sum(one.cpu for one in heard) / sum(one.seconds for one in heard)
    print(f"{spent:.2f} s of one core for a second of sound, language {options.language}")
    for workers in options.workers:
        measure_workers(options.model, clips[:24], workers)


if __name__ == "__main__":
    main()
