"""Trained models from Python: ``from emotion import Predictor``.

``predict.py`` is a caller of it: what it does beyond is to write files and to score.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotion.errors import UserError
from emotion.machine import allow_tf32
from emotion.models.devices import choose_device, loader_workers
from emotion.prediction.inputs import Item, blocked_features, find_items, shared_classes
from emotion.prediction.judges import Judges, judged
from emotion.prediction.members import Member
from emotion.prediction.notice import tell_notice
from emotion.prediction.options import PredictOptions
from emotion.prediction.predictor import Answer, Ensemble, explain, present, warn
from emotion.prediction.published import members_of
from emotion.prediction.timeline import timelines

if TYPE_CHECKING:
    from pandas import DataFrame

AnyPath = str | PathLike[str]
AnyPaths = AnyPath | Iterable[AnyPath]


@dataclass(frozen=True)
class Prediction:
    """What the models say about a clip, or about a window of a recording."""

    path: Path
    emotion: str  # the likeliest class; empty where there is no answer
    probabilities: dict[str, float]  # by class; empty where there is no answer
    modalities: tuple[str, ...]  # what the answer rests on: speech, face, text
    start: float  # seconds of the recording
    end: float
    intervals: dict[str, tuple[float, float]]  # modality -> first and last second that was read
    reason: str = ""  # why something is missing


class Predictions(list[Prediction]):
    """Several of them, in order."""

    def to_frame(self) -> "DataFrame":
        """A pandas data frame: a row for each, a column for each class.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
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
        enrolment: features of other clips of the same person, for models that are trained with
            ``--normalise speaker``.
        tta: views of a clip to average.
        workers: processes that read clips; with 0, a file that kills its decoder ends the program.

    Raises:
        UserError: a file is none of this program's, or a model's features cannot be made here.
    """

    def __init__(
        self,
        *weights: AnyPath,
        device: str = "auto",
        encoders: Sequence[AnyPath] = (),
        transcripts: Sequence[AnyPath] = (),
        enrolment: AnyPath = "",
        tta: int = 1,
        workers: int = 0,
    ) -> None:
        self._open(
            PredictOptions(
                weights=[str(path) for path in weights],
                device=device,
                encoders=[str(path) for path in encoders],
                transcripts=[str(path) for path in transcripts],
                features_dir=str(enrolment),
                tta=tta,
                num_workers=workers,
            )
        )

    @classmethod
    def of(cls, options: PredictOptions) -> "Predictor":
        """What the flags of predict.py ask for."""
        self = cls.__new__(cls)
        self._open(options)
        return self

    def _open(self, options: PredictOptions) -> None:
        allow_tf32(False)  # torch lets convolutions; a GPU's answers would not be a CPU's
        self.options = options
        self.device = choose_device(options.device)
        self.members: list[Member] = members_of(options, self.device)
        tell_notice(self.members)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The emotions that the models tell apart."""
        return self.members[0].checkpoint.class_names

    def predict(self, inputs: AnyPaths) -> Prediction | Predictions:
        """The answer to one file; of a folder, or of several paths, all of them in order.

        Raises:
            UserError: there is no such file or folder.
        """
        items, judges = judged(self._items(inputs), self.members, scored=False)
        ensemble = self.over(items, judges)
        answers = collect(self.options, ensemble, items)
        found = Predictions(_prediction(answer, ensemble) for answer in answers)
        return found[0] if len(found) == 1 and _is_file(inputs) else found

    def timeline(
        self, inputs: AnyPaths, window: float | str = 4.0, hop: float = 1.0
    ) -> Predictions:
        """An answer to every window of ``window`` seconds, every ``hop`` seconds of a recording;
        to every phrase where ``window`` is ``phrase``.

        Raises:
            UserError: there is no such file, or the models read nothing that has times.
        """
        options = replace(self.options, window=window, hop=hop)
        items = self._items(inputs)
        ensemble = self.over(items)
        return Predictions(
            _prediction(answer, ensemble, *span)
            for timeline in timelines(options, ensemble, items)
            if timeline is not None
            for span, answer in zip(timeline.spans, timeline.answers, strict=True)
        )

    def over(
        self, items: Sequence[Item], judges: Judges | None = None, *, hide: bool = False
    ) -> Ensemble:
        """The models, ready for some items.

        Args:
            items: which decide what has to be made of media files.
            judges: whom to ask about which; without, all.
            hide: also answer with each modality hidden.
        """
        options = self.options
        return Ensemble(
            self.members,
            self.device,
            n_views=options.tta,
            hide=hide,
            options=options,
            blocked=blocked_features(options, self.members, items),
            may=judges.may if judges else None,
            among=shared_classes(items, options.class_map, self.class_names),
        )

    def _items(self, inputs: AnyPaths) -> list[Item]:
        given = [inputs] if isinstance(inputs, str | PathLike) else inputs
        return find_items(
            [str(path) for path in given], "", self.options.features_dir, self.members
        )


def collect(options: PredictOptions, ensemble: Ensemble, items: Sequence[Item]) -> Iterator[Answer]:
    """All answers; what was wrong with an item is a line on stderr as soon as it is known."""
    workers = loader_workers(options.num_workers)
    for answer in ensemble.answers(items, options.batch_size, workers, options.clip_timeout):
        if line := explain(answer, ensemble.readings):
            warn(line)
        yield answer


def _is_file(inputs: AnyPaths) -> bool:
    return isinstance(inputs, str | PathLike) and Path(inputs).is_file()


def _prediction(
    answer: Answer, ensemble: Ensemble, start: float = 0.0, end: float | None = None
) -> Prediction:
    names = ensemble.class_names
    if end is None:
        end = answer.record.duration if answer.record else np.nan
    numbers = dict(zip(names, answer.probabilities.tolist(), strict=True)) if answer.given else {}
    there = present(answer.record, ensemble.readings) if answer.given else ()
    return Prediction(
        path=answer.item.clip.path,
        emotion=max(numbers, key=numbers.__getitem__) if numbers else "",
        probabilities=numbers,
        modalities=tuple(there),
        start=float(start),
        end=float(end),
        intervals={name: (start + one, start + last) for name, (one, last) in answer.read.items()},
        reason=explain(answer, ensemble.readings),
    )
