"""Items to answers: read, batched, answered by every model, joined; in input order."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import softmax
from tqdm import tqdm

from emotion import registry
from emotion.data.dataset import Sample, collate
from emotion.metrics import join
from emotion.models.evaluate import evaluate
from emotion.prediction.inputs import Item
from emotion.prediction.members import Member
from emotion.prediction.reading import MOST_FRAMES, ItemReader, Prepared, Reading, load
from emotion.recipe import Recipe
from emotion.records import Record
from emotion.telling import tell

EVERYTHING = ""  # no modality is hidden


class Answer(NamedTuple):
    """What the models say about one item; probabilities are NaN where there is no answer."""

    item: Item
    record: Record | None  # None where nothing could be read
    probabilities: np.ndarray  # (classes,) of the ensemble
    members: np.ndarray  # (models, classes)
    without: dict[str, np.ndarray]  # modality hidden -> (classes,)
    reasons: list[str]  # what was wrong, one line each

    @property
    def given(self) -> bool:
        """Whether there is an answer."""
        return bool(np.isfinite(self.probabilities[0]))


class Ensemble:
    """Models that answer together.

    Args:
        members: the models, on ``device``.
        device: of the models.
        n_views: views of a clip to average.
        hide: also answer with each modality hidden.
        options: the flags of predict.py, some of which are features' own.
        blocked: features that cannot be made of media files here.
        may: (items, models) bool, which model is asked about which item; all without.
        among: indices of the classes to answer with; all without.
    """

    def __init__(
        self,
        members: Sequence[Member],
        device: torch.device,
        *,
        n_views: int = 1,
        hide: bool = False,
        options: Any = None,
        blocked: Sequence[str] = (),
        may: np.ndarray | None = None,
        among: Sequence[int] | None = None,
    ) -> None:
        self.members = members
        self.may = may
        self.device = device
        self.n_views = n_views
        self.options = options
        self.blocked = blocked
        modalities = (name for member in members for name in member.recipe.modalities)
        self.hidden = (EVERYTHING, *dict.fromkeys(modalities)) if hide else (EVERYTHING,)
        each = [Reading.of(member) for member in members]
        self.readings = list(dict.fromkeys(each))
        self.reading_of = [self.readings.index(reading) for reading in each]
        self.n_classes = len(members[0].checkpoint.class_names)
        self.among = among

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the probabilities."""
        return self.members[0].checkpoint.class_names

    def reader(self, items: Sequence[Item]) -> ItemReader:
        """The items as these models read them."""
        return ItemReader(items, self.readings, self.options, self.n_views, self.blocked)

    def answers(
        self, items: Sequence[Item], batch_size: int, num_workers: int, clip_timeout: float = 0.0
    ) -> Iterator[Answer]:
        """An answer an item, in order, with a progress bar.

        Raises:
            UserError: a process that reads clips could not start.
        """
        size = min(batch_size, 8 * max(1, len(items) // 8))
        workers = min(num_workers, len(items))
        batches = load(self.reader(items), size, workers, clip_timeout)
        with tqdm(total=len(items), desc="predict", unit="clip", disable=None) as bar:
            for prepared in batches:
                for answer in self.answer_batch(prepared, items):
                    bar.update()
                    yield answer

    def answer_batch(self, prepared: Sequence[Prepared], items: Sequence[Item]) -> list[Answer]:
        """Answers of one batch of items that were read."""
        by_hidden = {name: self._member_answers(prepared, name) for name in self.hidden}
        joined = {name: join(answers) for name, answers in by_hidden.items()}
        return [
            Answer(
                item=items[one.index],
                record=one.record,
                probabilities=joined[EVERYTHING][row],
                members=by_hidden[EVERYTHING][:, row],
                without={name: joined[name][row] for name in self.hidden if name},
                reasons=one.failures,
            )
            for row, one in enumerate(prepared)
        ]

    def probabilities(self, prepared: Sequence[Prepared]) -> np.ndarray:
        """(clips, classes) of one batch of items that were read; NaN where there is no answer."""
        return join(self._member_answers(prepared, EVERYTHING))

    def _member_answers(self, prepared: Sequence[Prepared], hidden: str) -> np.ndarray:
        """(models, clips, classes); a model of the hidden modality alone has no answer."""
        answers = np.full((len(self.members), len(prepared), self.n_classes), np.nan)
        for number, member in enumerate(self.members):
            views = [self._views_for(number, one) for one in prepared]
            if member.mode != hidden:
                whose = np.repeat(np.arange(len(views)), [len(own) for own in views])
                hide = hidden if hidden in member.recipe.modalities else EVERYTHING
                found = self._probabilities(member, [v for own in views for v in own], hide)
                for row in np.unique(whose):
                    answers[number, row] = found[whose == row].mean(axis=0)
        return answers

    def _views_for(self, number: int, prepared: Prepared) -> list[Sample]:
        """What one model is shown of an item; nothing where it is not asked."""
        asked = self.may is None or self.may[prepared.index, number]
        return prepared.samples[self.reading_of[number]] if asked else []

    def _probabilities(self, member: Member, samples: list[Sample], hidden: str) -> np.ndarray:
        """(samples, classes)."""
        if not samples:
            return np.zeros((0, self.n_classes))
        batches = [collate(part) for part in _parts_that_fit(samples, member.recipe)]
        ids = [name for batch in batches for name in batch.ids]
        answers = evaluate(member.model, batches, ids, self.device, without=hidden)
        logits = answers.logits[member.head].astype(np.float64)
        if self.among is not None:
            logits[:, np.setdiff1d(np.arange(self.n_classes), self.among)] = -np.inf
        return softmax(logits / member.temperature, axis=1)


def _parts_that_fit(samples: Sequence[Sample], recipe: Recipe) -> Iterator[list[Sample]]:
    """Samples in order, as many at once as come to ``MOST_FRAMES`` when padded to the longest."""
    part: list[Sample] = []
    longest = 0
    heard = [p.modality for p in recipe.parts if p.kind == registry.SPECTROGRAM]
    for sample in samples:
        frames = max((len(sample.steps[name].mask) for name in heard), default=1)
        if part and max(longest, frames) * (len(part) + 1) > MOST_FRAMES:
            yield part
            part, longest = [], 0
        part.append(sample)
        longest = max(longest, frames)
    yield part


def present(record: Record | None, readings: Sequence[Reading]) -> list[str]:
    """Which modalities of a clip the models read."""
    if record is None:
        return []
    parts = [part for reading in readings for part in reading.recipe.parts]
    there = {part.modality for part in parts if record.state(part.feature) == "ok"}
    return [name for name in registry.modalities() if name in there]


def explain(answer: Answer, readings: Sequence[Reading]) -> str:
    """One line about what was wrong with an item; empty where nothing was."""
    if answer.given:
        return f"{answer.item.name}: {'; '.join(answer.reasons)}" if answer.reasons else ""
    reasons = answer.reasons or _absences(answer.record, readings)
    return f"{answer.item.name}: {'; '.join(reasons)}; its row is empty"


def warn(line: str) -> None:
    """A line on stderr that leaves the progress bar whole."""
    tell(f"warning: {line}")


def _absences(record: Record, readings: Sequence[Reading]) -> list[str]:
    read = {name for reading in readings for name in reading.features}
    return [
        registry.feature(name).reasons.get(record.state(name), f"has no {name} features")
        for name in registry.feature_names(read)
        if name in read
    ]
