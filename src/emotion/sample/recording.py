"""``python -m emotion.sample.recording DIR``: test clips of a sample corpus one after another, as
``DIR/recording.mp4``, a clip an emotion: something longer, for ``predict.py --timeline True``.
"""

import argparse
from pathlib import Path

import numpy as np
from moviepy import VideoFileClip

from emotion.command_line import run
from emotion.errors import UserError
from emotion.files import read_csv
from emotion.inputs.video import read_waveform
from emotion.sample.corpus import write_mp4
from emotion.sample.face import FRAMES_PER_SECOND
from emotion.sample.voice import SAMPLE_RATE
from emotion.telling import say

NAME = "recording.mp4"


def record(corpus: Path) -> Path:
    """Write the recording of a sample corpus.

    Raises:
        UserError: the folder holds none.
    """
    _, rows = read_csv(corpus / "test_labels.csv", "make it: python -m emotion.sample --out DIR")
    first = {row["Emotion"]: row["FileID"] for row in reversed(rows)}
    parts = [_read(corpus / "test" / f"{name}.mp4") for name in first.values()]
    frames, sounds = zip(*parts, strict=True)
    write_mp4(corpus / NAME, np.concatenate(frames), np.concatenate(sounds))
    return corpus / NAME


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames (F, H, W, 3) and samples (samples,) of a clip, of one length."""
    if not path.is_file():
        raise UserError(f"{path}: missing; make it: python -m emotion.sample --out DIR")
    with VideoFileClip(str(path)) as clip:
        frames = np.stack(list(clip.iter_frames(fps=FRAMES_PER_SECOND)))
    sound = read_waveform(path)  # moviepy's to_soundarray makes a constant of some clips of 3 s
    length = len(frames) * SAMPLE_RATE // FRAMES_PER_SECOND
    return frames, np.pad(sound, (0, max(0, length - len(sound))))[:length]


def main() -> None:
    """Write it, as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m emotion.sample.recording", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("corpus", type=Path, help="folder of the sample corpus")
    say(f"{record(parser.parse_args().corpus)}: generated clips, one an emotion")


if __name__ == "__main__":
    run(main)
