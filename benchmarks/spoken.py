"""The generated sample corpus with words that can be heard: espeak-ng says each clip's sentence.

    python -m emotion.sample --out SAMPLE --clips_per_emotion 21
    python benchmarks/spoken.py SAMPLE SPOKEN                     # no transcripts: hear them
    python benchmarks/spoken.py SAMPLE UNTIMED --heard FEATURES   # the same words, no times

The voice follows the clip's speech label by pitch, rate and loudness alone. ``--heard`` takes what
``preprocess.py --transcribe`` heard in SPOKEN for transcripts, so that two features folders differ
in the times of their words and in nothing else.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from benchmarks.clips import ffmpeg
from emotion.sample.plan import CUES

VOICES = {  # of espeak-ng: pitch 0 to 99, words a minute, amplitude 0 to 200
    "bright": (80, 175, 120),
    "harsh": (55, 200, 190),
    "creaky": (10, 130, 70),
    "trembling": (95, 210, 60),
    "level": (40, 145, 90),
}


def speak(sentence: str, emotion: str, path: Path) -> None:
    """The sentence as a WAV file, in the voice of the emotion."""
    pitch, rate, amplitude = map(str, VOICES[CUES[emotion][1]])
    voice = ["espeak-ng", "-v", "en", "-p", pitch, "-s", rate, "-a", amplitude]
    subprocess.run([*voice, "-w", str(path), sentence], check=True)


def dub(film: Path, voice: Path, path: Path) -> None:
    """The picture under another voice and as long; from its start again where it is shorter."""
    with wave.open(str(voice)) as file:
        seconds = file.getnframes() / file.getframerate()
    inputs = ["-stream_loop", "-1", "-i", str(film), "-i", str(voice), "-t", f"{seconds:.3f}"]
    coded = ["-c:v", "libx264", "-crf", "23", "-c:a", "aac"]
    ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", *coded, str(path))


def heard_words(features: Path) -> dict[str, str]:
    """FileID -> what was heard, of every split."""
    rows: dict[str, str] = {}
    for path in features.glob("*/transcripts.csv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows |= {row["FileID"]: row["transcript"] for row in csv.DictReader(file)}
    return rows


def main() -> None:
    """Dub every clip of the sample's table and write a table beside them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sample", type=Path, help="of python -m emotion.sample")
    parser.add_argument("out", type=Path)
    parser.add_argument("--heard", type=Path, metavar="FEATURES", help="whose words are given")
    arguments = parser.parse_args()
    with (arguments.sample / "table.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    words = heard_words(arguments.heard) if arguments.heard else {}
    with tempfile.TemporaryDirectory() as folder:
        for row in tqdm(rows, unit="clip"):
            path = arguments.out / row["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            voice = Path(folder) / "voice.wav"
            speak(row["transcript"], row["speech_label"], voice)
            dub(arguments.sample / row["path"], voice, path)
            row["transcript"] = words.get(row["id"], "")
    with (arguments.out / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    shutil.copy(arguments.sample / "notice.txt", arguments.out)


if __name__ == "__main__":
    main()
