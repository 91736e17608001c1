"""Trained models from Python: ``from emotion import Predictor``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from emotion.errors import UserError
from emotion.machine import allow_tf32
from emotion.models.devices import choose_device
from emotion.prediction.inputs import Item, blocked_features, find_items
from emotion.prediction.members import load_members
from emotion.prediction.options import PredictOptions
from emotion.prediction.predictor import Answer, Ensemble, present
from emotion.prediction.published import weights_of
from emotion.prediction.timeline import timelines

AnyPath = str | PathLike[str]


@dataclass(frozen=True)
class Prediction:
    """What the models say about a clip, or about a window of a recording."""

    path: Path
    emotion: str  # the likeliest class; empty where there is no answer
    probabilities: dict[str, float]  # by class; empty where there is no answer
    modalities: tuple[str, ...]  # what the answer rests on: speech, face, text
    start: float  # seconds of the recording
    end: float
    reason: str = ""  # why something is missing


class Predictions(list[Prediction]):
    """Several of them, in order."""

    def to_frame(self) -> Any:
        """A pandas data frame: a row for each, a column for each class.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UserError("to_frame() requires pandas: pip install pandas") from None
        rows = [asdict(one) for one in self]
        return pandas.DataFrame([row | row.pop("probabilities") for row in rows])


class Predictor:
    """Models that answer for video and audio files.

    ``Predictor("weights/voice").predict("talk.mp4").emotion``

    Args:
        weights: checkpoints or run folders; several are an ensemble, none the published model.
        device: auto, cpu or cuda.
        encoders: where frozen networks are now, if not where they were in training.
        transcripts: what is said, as for ``predict.py --transcripts``.
        tta: views of a clip to average.

    Raises:
        UserError: a file is none of this program's, or a model's features cannot be made here.
    """

    def __init__(
        self,
        *weights: AnyPath,
        device: str = "auto",
        encoders: Sequence[AnyPath] = (),
        transcripts: Sequence[AnyPath] = (),
        tta: int = 1,
    ) -> None:
        self._options = PredictOptions(
            weights=[str(path) for path in weights],
            encoders=[str(path) for path in encoders],
            transcripts=[str(path) for path in transcripts],
            tta=tta,
            num_workers=0,
        )
        allow_tf32(False)
        place = choose_device(device)
        members = load_members(weights_of(self._options), place)
        blocked = blocked_features(self._options, members, [])
        self._ensemble = Ensemble(
            members, place, n_views=tta, options=self._options, blocked=blocked
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The emotions that the models tell apart."""
        return self._ensemble.members[0].checkpoint.class_names

    def predict(
        self, inputs: AnyPath | Iterable[AnyPath], batch_size: int = 32
    ) -> Prediction | Predictions:
        """The answer to one file; of a folder, or of several paths, all of them in order.

        Raises:
            UserError: there is no such file or folder.
        """
        items = self._items(inputs)
        answers = self._ensemble.answers(items, batch_size, num_workers=0)
        found = Predictions(
            self._prediction(answer, 0.0, answer.record.duration if answer.record else np.nan)
            for answer in answers
        )
        one = isinstance(inputs, str | PathLike) and Path(inputs).is_file()
        return found[0] if one else found

    def timeline(self, path: AnyPath, window: float = 4.0, hop: float = 1.0) -> Predictions:
        """An answer to every window of ``window`` seconds, every ``hop`` seconds of a recording.

        Raises:
            UserError: there is no such file, or the models read nothing that has times.
        """
        options = self._options
        options.window, options.hop = window, hop
        found = Predictions()
        for timeline in timelines(options, self._ensemble, self._items(path)):
            if timeline is not None:
                spans = zip(timeline.spans, timeline.answers, strict=True)
                found += [self._prediction(answer, *span) for span, answer in spans]
        return found

    def _items(self, inputs: AnyPath | Iterable[AnyPath]) -> list[Item]:
        given = [inputs] if isinstance(inputs, str | PathLike) else inputs
        return find_items([str(path) for path in given], "", "", self._ensemble.members)

    def _prediction(self, answer: Answer, start: float, end: float) -> Prediction:
        numbers: dict[str, float] = {}
        if answer.given:
            numbers = dict(zip(self.class_names, answer.probabilities.tolist(), strict=True))
        there = present(answer.record, self._ensemble.readings) if answer.given else ()
        return Prediction(
            path=answer.item.clip.path,
            emotion=max(numbers, key=numbers.get) if numbers else "",
            probabilities=numbers,
            modalities=tuple(there),
            start=float(start),
            end=float(end),
            reason="; ".join(answer.reasons),
        )
