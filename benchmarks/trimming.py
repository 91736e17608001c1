"""What a click costs and what clean clips lose: trimming against the loudest frame, and as it is.

    python benchmarks/trimming.py RAVDESS_FOLDER

119 clips get a click of 10 ms at full scale at a random place. Counted are the frames of speech (as
trimmed without the click) that are left. Then the clean clips: frames kept now, of those that a
threshold 20 dB below the loudest frame keeps.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from emotion.clock import HOP_LENGTH, SAMPLE_RATE
from emotion.inputs.audio import frame_levels, trim_interval
from emotion.inputs.video import read_waveform

CLICKED = 119  # clips
CLICK_SECONDS = 0.01
BEFORE_DB = 20.0  # below the loudest frame: the rule of before

Frames = tuple[int, int]  # first, and one past the last


def against_the_loudest(waveform: np.ndarray) -> Frames:
    """What lay within 20 dB of the loudest frame."""
    levels = frame_levels(waveform)
    loud = np.flatnonzero(levels > levels.max() - BEFORE_DB)
    return int(loud[0]), int(loud[-1]) + 1


def by_percentile(waveform: np.ndarray) -> Frames:
    """What preprocessing keeps."""
    first, last = trim_interval(waveform)
    return first // HOP_LENGTH, -(-last // HOP_LENGTH)


RULES = {"loudest frame": against_the_loudest, "percentile": by_percentile}


def clicked(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """With a click somewhere."""
    length = round(CLICK_SECONDS * SAMPLE_RATE)
    first = generator.integers(max(1, len(waveform) - length))
    loud = waveform.copy()
    loud[first : first + length] = 1.0
    return loud


def share_kept(wanted: Frames, found: Frames) -> float:
    """Share of the wanted frames that were found."""
    common = min(wanted[1], found[1]) - max(wanted[0], found[0])
    return max(0, common) / (wanted[1] - wanted[0])


def click_test(waveforms: list[np.ndarray]) -> None:
    """Print, for each rule, what a click leaves of the speech."""
    generator = np.random.default_rng(0)
    rows = np.sort(generator.permutation(len(waveforms))[:CLICKED])
    pairs = [(waveforms[row], clicked(waveforms[row], generator)) for row in rows]
    for name, rule in RULES.items():
        kept = np.array([share_kept(rule(clean), rule(loud)) for clean, loud in pairs])
        print(
            f"click, {name}: of {len(kept)} clips {(kept == 0).mean():.1%} lose all speech, "
            f"{(kept < 0.5).mean():.1%} more than half; least kept {kept.min():.1%}"
        )


def clean_test(waveforms: list[np.ndarray]) -> None:
    """Print what clean clips keep now of what they kept before."""
    pairs = [[rule(waveform) for rule in RULES.values()] for waveform in waveforms]
    frames = np.array([[last - first for first, last in pair] for pair in pairs])
    kept = np.array([share_kept(*pair) for pair in pairs])
    change = np.abs(frames[:, 1] / frames[:, 0] - 1)
    before, now = frames.sum(axis=0)
    print(
        f"clean: {len(pairs)} clips, frames {now / before:.2%} of before, "
        f"{kept @ frames[:, 0] / before:.2%} of the same; "
        f"{(change <= 0.05).mean():.1%} of the clips within 5 %"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of wav or flac files")
    folder = parser.parse_args().folder
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".wav", ".flac"))
    waveforms = [read_waveform(path) for path in tqdm(paths, "read")]
    click_test(waveforms)
    clean_test(waveforms)


if __name__ == "__main__":
    main()
