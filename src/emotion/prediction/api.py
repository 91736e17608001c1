"""Trained models from Python: what ``from emotion import Predictor`` gives.

``predict.py`` is a caller of the same class: what it does beyond is to write files and to score.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from emotion import registry
from emotion.errors import UserError
from emotion.machine import allow_tf32
from emotion.models.devices import choose_device, loader_workers
from emotion.prediction.inputs import Item, blocked_features, find_items
from emotion.prediction.judges import Judges, judged
from emotion.prediction.members import Member, load_members
from emotion.prediction.notice import tell_about
from emotion.prediction.options import PredictOptions
from emotion.prediction.predictor import Answer as Found
from emotion.prediction.predictor import Predictor as Ensemble
from emotion.prediction.predictor import explain, present, warn
from emotion.prediction.published import load_best
from emotion.prediction.recording import Span
from emotion.prediction.timeline import timelines

if TYPE_CHECKING:
    from pandas import DataFrame

Paths = str | Path | Iterable[str | Path]


class Answer(NamedTuple):
    """What the models say about a clip, or about a window of a longer recording.

    Without an answer ``emotion`` is empty, there are no probabilities, and ``reason`` says why.
    """

    file: str
    emotion: str  # the likeliest class
    probabilities: dict[str, float]  # class -> probability, in the models' order
    modalities: tuple[str, ...]  # what it rests on
    intervals: dict[str, tuple[float, float]]  # modality -> what was read of it, in seconds
    start: float  # seconds of the file
    end: float
    reason: str = ""


class Answers(list[Answer]):
    """Answers in the order of the clips; a list with one further method."""

    def frame(self) -> "DataFrame":
        """A row an answer: file, start, end, emotion, a column a class, modalities.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise UserError("Answers.frame(): wants pandas; pip install pandas") from None
        return pandas.DataFrame([_row(answer) for answer in self])


class Predictor:
    """One trained model, or several that answer together.

    ::

        predictor = Predictor("weights/voice")
        answer = predictor.predict("talk.mp4")
        print(answer.emotion, answer.probabilities)
        predictor.predict("clips/").frame()
        predictor.timeline("talk.mp4", window=4, hop=1).frame()

    Args:
        weights: checkpoints or run folders, several are an ensemble; without any, the best of
            ``weights/`` that can be used here.
        device: auto, cpu or cuda.
        views: of each clip, to average.
        batch_size: clips at once.
        workers: processes that read clips; with 0 a file that crashes its decoder ends the program.
        more: any further flag of predict.py, such as ``speech_encoder=["FOLDER"]``.

    Raises:
        UserError: there are no such weights, or they cannot be used here.
    """

    def __init__(
        self,
        *weights: str | Path,
        device: str = "auto",
        views: int = 1,
        batch_size: int = 32,
        workers: int = 0,
        **more: Any,
    ) -> None:
        self._open(
            PredictOptions(
                weights=[os.fspath(path) for path in weights],
                device=device,
                tta=views,
                batch_size=batch_size,
                num_workers=workers,
                **more,
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
        registry.extend(options.extend)
        self.options = options
        self.device = choose_device(options.device)
        self.members: list[Member] = (
            load_members(
                options.weights,
                options.average_weights,
                not options.calibrate,
                options.logs_dir,
                self.device,
            )
            if options.weights
            else load_best(options, self.device)
        )
        tell_about(self.members)

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the probabilities."""
        return self.members[0].checkpoint.class_names

    def predict(self, clips: Paths) -> Answer | Answers:
        """Answers for whole clips.

        Args:
            clips: a file, a folder, or several of them; ``features/test`` is a folder too.

        Returns:
            An ``Answer`` for a single file, else ``Answers``.

        Raises:
            UserError: there is no such file or folder.
        """
        items, judges = judged(self._items(clips), self.members, scored=False)
        ensemble = self.over(items, judges)
        found = collect(self.options, ensemble, items)
        answers = Answers(_answer(one, ensemble) for one in found)
        return answers[0] if _is_file(clips) else answers

    def timeline(self, clips: Paths, window: float | str = 4.0, hop: float = 1.0) -> Answers:
        """An answer for each window of longer recordings, in order.

        Args:
            clips: files or folders of them.
            window: seconds, or ``phrase``: from pause to pause.
            hop: seconds from one window to the next.

        Raises:
            UserError: there is no such file, or the models know nothing of time.
        """
        items = self._items(clips)
        options = replace(self.options, window=window, hop=hop)
        ensemble = self.over(items)
        return Answers(
            _answer(one, ensemble, span)
            for _, timeline in timelines(options, ensemble, items)
            if timeline is not None
            for one, span in zip(timeline.answers, timeline.spans, strict=True)
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
        return Ensemble(
            self.members,
            self.device,
            n_views=self.options.tta,
            hide=hide,
            options=self.options,
            blocked=blocked_features(self.options, self.members, items),
            may=judges.may if judges else None,
        )

    def _items(self, clips: Paths) -> list[Item]:
        several = [clips] if isinstance(clips, str | Path) else clips
        return find_items([os.fspath(path) for path in several], "", "", self.members)


def collect(options: PredictOptions, ensemble: Ensemble, items: Sequence[Item]) -> Iterator[Found]:
    """All answers; what was wrong with an item is a line on stderr as soon as it is known."""
    workers = loader_workers(options.num_workers)
    for found in ensemble.answers(items, options.batch_size, workers, options.clip_timeout):
        if line := explain(found, ensemble.readings):
            warn(line)
        yield found


def _is_file(clips: Paths) -> bool:
    return isinstance(clips, str | Path) and Path(clips).is_file() and Path(clips).suffix != ".csv"


def _answer(found: Found, ensemble: Ensemble, span: Span | None = None) -> Answer:
    names = ensemble.members[0].checkpoint.class_names
    start, end = span or (0.0, found.record.duration if found.record else math.nan)
    shares = dict(zip(names, found.probabilities.tolist(), strict=True)) if found.given else {}
    return Answer(
        file=found.item.name,
        emotion=max(shares, key=shares.__getitem__) if shares else "",
        probabilities=shares,
        modalities=tuple(present(found.record, ensemble.readings)) if found.given else (),
        intervals={n: (start + first, start + last) for n, (first, last) in found.read.items()},
        start=start,
        end=end,
        reason=explain(found, ensemble.readings),
    )


def _row(answer: Answer) -> dict[str, Any]:
    return {
        "file": answer.file,
        "start": answer.start,
        "end": answer.end,
        "emotion": answer.emotion,
        **answer.probabilities,
        "modalities": " ".join(answer.modalities),
    }
