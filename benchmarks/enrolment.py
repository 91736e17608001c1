"""How much of a person has to be heard before? Models of ``--normalise speaker`` on test clips
that are normalised by all clips of their speaker, by a few, and by clips of some emotions alone.

    python benchmarks/enrolment.py logs/speech/speaker/fold_*/refit --features_dir DIR

Each model answers the speakers that its run tests, as its folds say; none of them was heard in
training. ``--few 10`` clips are drawn anew ``--draws`` times a speaker, and so are the clips of
``--emotions 3`` classes, all of them. Scores are UA over all clips together, with the interval over
speakers of the mean over draws.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import recall_score
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from benchmarks.costs import row
from emotion.data.dataset import collate
from emotion.data.samples import read_sample, readers_of
from emotion.files import read_csv
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.models.evaluate import evaluate
from emotion.prediction.members import Member, load_members
from emotion.prediction.scores import Cells, bootstrap_intervals, drawn_units
from emotion.records import Record

SPLIT = "all"
BATCH = 32
RESAMPLES = 2000
Choose = Callable[[list[Record], np.random.Generator], list[Record]]


class Heard(FeatureStore):
    """A features folder of which only some clips are known."""

    def __init__(self, root: Path, records: list[Record]) -> None:
        super().__init__(root)
        self.records = records

    def splits(self) -> list[str]:
        """The one of a corpus without official splits."""
        return [SPLIT]

    def read_manifest(self, split: str) -> list[Record]:
        """Those clips."""
        return self.records


def few(count: int) -> Choose:
    """So many clips, drawn."""
    return lambda clips, generator: [
        clips[k] for k in generator.permutation(len(clips))[:count].tolist()
    ]


def some_emotions(count: int) -> Choose:
    """All clips of so many classes, drawn."""

    def choose(clips: list[Record], generator: np.random.Generator) -> list[Record]:
        known = sorted({clip.integrated for clip in clips})
        kept = set(generator.permutation(known)[:count].tolist())
        return [clip for clip in clips if clip.integrated in kept]

    return choose


def answers(
    member: Member, store: FeatureStore, clips: list[Record], heard: list[Record]
) -> np.ndarray:
    """Class indices (clips,) of one speaker's clips after others of that person were heard."""
    readers = readers_of(member.recipe, Heard(store.root, heard))
    samples = [read_sample(StoredClip(store, SPLIT, clip), readers) for clip in clips]
    batches = [collate(samples[k : k + BATCH]) for k in range(0, len(samples), BATCH)]
    order = [clip.stem for clip in clips]
    found = evaluate(member.model, batches, order, torch.device("cpu"))
    return found.logits[member.head].argmax(axis=1)


def tested(member: Member, store: FeatureStore) -> dict[str, list[Record]]:
    """Speaker -> clips that the model's run tests."""
    path = member.checkpoint.path.parent / "predictions_test.csv"
    stems = {row["clip"] for row in read_csv(path, "give finished runs")[1]}
    clips: dict[str, list[Record]] = defaultdict(list)
    for record in store.read_manifest(SPLIT):
        if record.stem in stems:
            clips[record.speaker].append(record)
    return clips


def scored(members: list[Member], store: FeatureStore, choose: Choose, draws: int) -> Cells:
    """Answers of every model to its own test speakers, once a draw."""
    names = members[0].checkpoint.class_names
    labels, found, speakers = [], [], []
    for member in tqdm(members, unit="model", leave=False):
        for speaker, clips in sorted(tested(member, store).items()):
            for draw in range(draws):
                seed = (draw, int.from_bytes(speaker.encode()))
                heard = choose(clips, np.random.default_rng(seed))
                found.append(answers(member, store, clips, heard))
                labels += [names.index(clip.integrated) for clip in clips]
                speakers += [speaker] * len(clips)
    unit, _ = drawn_units(np.array(speakers))
    return Cells(np.array(labels), np.concatenate(found), unit, len(names))


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", help="run folders, or their refit/")
    parser.add_argument("--features_dir", type=Path, required=True)
    parser.add_argument("--few", type=int, nargs="*", default=[10])
    parser.add_argument("--emotions", type=int, nargs="*", default=[3])
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    members = load_members(options.runs, torch.device("cpu"), temperature=False)
    store = FeatureStore(options.features_dir)
    ways: dict[str, tuple[Choose, int]] = {"all clips": (lambda clips, _: clips, 1)}
    ways |= {f"{n} clips, drawn": (few(n), options.draws) for n in options.few}
    ways |= {
        f"all clips of {n} emotions": (some_emotions(n), options.draws) for n in options.emotions
    }
    print(row(["heard of each test speaker", "UA", "95 % over speakers"]))
    for name, (choose, draws) in ways.items():
        cells = scored(members, store, choose, draws)
        ua = recall_score(cells.labels, cells.answers, average="macro")
        low, high = bootstrap_intervals(cells, RESAMPLES)["unweighted_average_recall"]
        print(row([name, f"{100 * ua:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"]), flush=True)


if __name__ == "__main__":
    main()
