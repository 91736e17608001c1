"""Does a model keep the three promises of docs/EXTENDING.md?

EMOTION_EXTEND=FILE.py python -m emotion.prediction.promises RUN --features_dir DIR
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from emotion.command_line import run
from emotion.data.dataset import collate
from emotion.data.samples import Sample
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.models.evaluate import hide
from emotion.prediction.inputs import find_items
from emotion.prediction.members import Member, load_members
from emotion.prediction.predictor import Ensemble
from emotion.records import Batch
from emotion.telling import note, say

MOST_CLIPS = 12
BOUND = 1e-5  # of a probability
RUBBISH = 9  # what masked steps are filled with: also a value of a picture


class Outcome(NamedTuple):
    """What came of one promise."""

    promise: str
    difference: float  # the largest of a probability; NaN where an answer is not finite

    @property
    def kept(self) -> bool:
        """Whether the answers are as good as equal."""
        return self.difference <= BOUND

    def __str__(self) -> str:
        verdict = "kept" if self.kept else "BROKEN"
        return f"{self.promise}: {verdict}, by {self.difference:.1e} (bound {BOUND:.0e})"


def check(member: Member, features_dir: str) -> list[Outcome]:
    """Every promise, on a dozen clips drawn from those that the model can read.

    Raises:
        UserError: the features are missing or made otherwise, or the model can read no clip.
    """
    samples = _samples(member, features_dir)
    batch = collate(samples).inputs
    answers = _answer(member, batch)
    outcomes = [
        Outcome(f"1. masked steps change nothing ({name})", _apart(_answer(member, other), answers))
        for name, other in _with_rubbish(batch)
    ]
    if not outcomes:
        note(f"{features_dir}: these {len(samples)} clips are of one length, so nothing is masked")
    each = torch.cat([_answer(member, collate([sample]).inputs) for sample in samples])
    outcomes.append(Outcome("2. alone as beside longer clips", _apart(each, answers)))
    for name in member.recipe.modalities:
        batch = hide(batch, name)
    empty = _answer(member, batch)
    outcomes.append(Outcome("3. an answer without a single step", _apart(empty, empty)))
    return outcomes


def _samples(member: Member, features_dir: str) -> list[Sample]:
    splits = FeatureStore(Path(features_dir)).splits() or ["all"]
    items = [item for split in splits for item in find_items([], split, features_dir, [member])]
    random.Random(0).shuffle(items)
    reader = Ensemble([member], torch.device("cpu")).reader(items)
    found: list[Sample] = []
    for index in range(len(items)):
        found += reader[index].samples[0][:1]
        if len(found) == MOST_CLIPS:
            break
    if not found:
        raise UserError(f"{features_dir}: of {len(items)} clips the model can read none")
    return found


@torch.inference_mode()
def _answer(member: Member, batch: Batch) -> Tensor:
    """Probabilities (B, classes)."""
    return member.model(batch)[member.head].softmax(dim=-1)


def _with_rubbish(batch: Batch) -> Iterator[tuple[str, Batch]]:
    """For each modality with masked steps: the batch with rubbish in them."""
    for name, stream in batch.streams.items():
        if bool(stream.mask.all()):
            continue
        masked = ~stream.mask.view(*stream.mask.shape, *[1] * (stream.values.dim() - 2))
        values = stream.values.masked_fill(masked, RUBBISH)
        yield name, batch._replace(streams=batch.streams | {name: stream._replace(values=values)})


def _apart(some: Tensor, others: Tensor) -> float:
    """The largest difference; NaN where any is."""
    return float((some - others).abs().max())


def main() -> int:
    """Check a run, as the command line says; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m emotion.prediction.promises", description=__doc__.splitlines()[0]
    )
    parser.add_argument("run", help="a run folder or a checkpoint")
    parser.add_argument("--features_dir", required=True, help="clips that it is asked about")
    given = parser.parse_args()
    outcomes = check(load_members([given.run], torch.device("cpu"))[0], given.features_dir)
    for outcome in outcomes:
        say(str(outcome))
    return int(not all(outcome.kept for outcome in outcomes))


if __name__ == "__main__":
    run(main)
