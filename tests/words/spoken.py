"""A corpus that is heard, a transcriber that always hears the same, and what is made of both."""

import csv

import numpy as np

from emotion.clock import SAMPLE_RATE
from emotion.errors import UserError
from emotion.inputs.spoken import Spoken, Word
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.preprocessing.run import PreprocessOptions, preprocess
from tests.prediction import answers_of

VECTORS = "happy 1 0 0\nsad 0 1 0\nyes 0 0 1\n행복 2 0 0\n슬픔 0 2 0\n"
CLASSES = ("bad", "good")


class Heard:
    """In place of Whisper: a word for each whole second that is loud, said in its middle."""

    fingerprint = "feedbeef"
    said = ("happy", "sad!", "yes")
    calls = 0

    def __init__(self, source, language="auto", device="cpu"):
        if source.endswith("gone"):
            raise UserError(f"--transcribe {source}: no such folder")

    def __call__(self, waveform):
        Heard.calls += 1
        seconds = [waveform[k * SAMPLE_RATE :][:SAMPLE_RATE] for k in range(len(waveform) // 16000)]
        loud = [k for k, part in enumerate(seconds) if np.abs(part).max() > 0.1]
        words = [Word(self.said[k % 3], k + 0.25, k + 0.75) for k in loud]
        return Spoken(tuple(words), "en", 0.9)


def embedded(folder, **changes):
    """preprocess.py on the table of a folder, with the vectors there."""
    given = {
        "corpus": "table",
        "data_dir": str(folder),
        "features_dir": str(folder / "features"),
        "vggface_weights": "none",
        "num_workers": 0,
        "word_vectors": str(folder / "vectors.txt"),
    }
    assert preprocess(PreprocessOptions(**given | changes)) == 0
    return FeatureStore(folder / "features")


def run(folder, **changes):
    """The same, what has no words being heard; some of it cannot be read."""
    return embedded(folder, **{"transcribe": "whisper", "max_failures": 50.0} | changes)


def listed(folder):
    with (folder / "features" / "train" / "transcripts.csv").open(newline="") as file:
        return {row["FileID"]: row for row in csv.DictReader(file)}


def correct(folder, name, text):
    path = folder / "features" / "train" / "transcripts.csv"
    rows = list(listed(folder).values())
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(r | {"transcript": text} if r["FileID"] == name else r for r in rows)


def words_of(store, name):
    record = next(r for r in store.read_manifest("train") if r.id == name)
    return StoredClip(store, "train", record).read("text")


def answers(model, folder, **flags):
    return answers_of(model, folder, probabilities=True, **flags)
