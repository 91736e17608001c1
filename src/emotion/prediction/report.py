"""``report.html`` and ``report.json``: what a run, or several, are worth on labelled clips."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from emotion import registry
from emotion.emotions import full_names
from emotion.errors import UserError, first_line
from emotion.files import read_csv, write_atomic, write_json
from emotion.models.checkpoint import BEST, REFIT
from emotion.models.plots import CURVES, draw_confusion, draw_curves
from emotion.prediction.abstain import Threshold, outcome
from emotion.prediction.attention import attention_over_time
from emotion.prediction.inputs import Item
from emotion.prediction.judges import Judges
from emotion.prediction.members import Member
from emotion.prediction.notice import notice_of
from emotion.prediction.plots import Scene, draw_attention, draw_mistake, draw_reliability
from emotion.prediction.predictor import Answer, Ensemble, present, warn
from emotion.prediction.reading import ItemReader, Reading
from emotion.prediction.report_page import TEMPLATE, Picture, media_of, render
from emotion.prediction.scenes import scene_of
from emotion.prediction.scores import System, chance, compare, reliability
from emotion.prediction.trust import by_group, calibration_by_class, risk_by_coverage
from emotion.prediction.trust_plots import draw_risk, draw_scores
from emotion.records import ClipFeatures

NUMBERS = "report.json"
RESAMPLES = 2000  # behind an interval
SHOWN = 6  # errors
MOST_CLASSES = 12  # of which the surest answer is shown
MOST_COMPARED = 9  # systems: of 30 models there would be 465 pairs


@dataclass
class Report:
    """Scores and pictures of one set of answers, in the making."""

    folder: Path
    predictor: Ensemble
    answers: Sequence[Answer]  # of labelled clips only
    label: str
    judges: Judges  # who was asked about what
    threshold: Threshold | None = None  # of confidence, where answers may be left open
    worse: dict[str, np.ndarray] = field(default_factory=dict)  # condition -> (clips, classes)
    pictures: dict[str, list[Picture]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.members: Sequence[Member] = self.predictor.members
        self.class_names = self.members[0].checkpoint.class_names
        self.full = dict(zip(self.class_names, full_names(self.class_names), strict=True))
        self.labels = np.array([label_of(answer.item, self.label) for answer in self.answers])
        self.main = self._system(self._main_name(), lambda answer: answer.probabilities)
        self.reader: ItemReader = self.predictor.reader([a.item for a in self.answers])

    def write(self) -> dict[str, Any]:
        """Draw and write everything; returns what report.json holds."""
        numbers = self._numbers()
        self._draw(numbers)
        write_json(self.folder / NUMBERS, numbers)
        page = render(numbers, self.pictures, self.class_names)
        write_atomic(self.folder / TEMPLATE, lambda file: file.write(page.encode()))
        return numbers

    # -- numbers ---------------------------------------------------------------------------------

    def _numbers(self) -> dict[str, Any]:
        systems = self._systems()
        scored = {s.name: s.score(self.class_names, RESAMPLES) for s in systems}
        return {
            "notice": notice_of(self.members),
            "label": self.label,
            "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "class_names": list(self.class_names),
            "models": self.judges.rows(self.members),
            "left_out": self.judges.left_out,
            "clips": len(self.answers),
            "scored": self.main.name,
            "scores": scored[self.main.name],
            "chance": chance(self.labels[self.main.answered], self.class_names),
            "reliability": reliability(self.main),
            "without": self._without(),
            "shared_classes": self._shared(),
            "by_speaker": by_group(self.main, self.main.speakers, self.class_names),
            "by_sex": by_group(self.main, self._sexes(), self.class_names),
            "calibration_by_class": calibration_by_class(self.main, self.class_names),
            "risk": risk_by_coverage(self.main),
            "abstain": self._abstain(),
            "stress": self._stress(),
            "systems": scored,
            "comparisons": compare(systems) if len(systems) <= MOST_COMPARED else [],
            "mistakes": [self._describe(row) for row in self._mistakes()],
            "surest": [self._describe(row) for row in self._surest()],
        }

    def _main_name(self) -> str:
        if len(self.members) == 1:
            return self.members[0].name
        return f"mean of {len(self.members)}"

    def _system(self, name: str, pick: Any) -> System:
        speakers = np.array([answer.item.clip.speaker or "" for answer in self.answers])
        picked = np.stack([pick(answer) for answer in self.answers])
        return System(name, picked, self.labels, speakers)

    def _systems(self) -> list[System]:
        """All together, and where there are several: each experiment, its runs together; of one
        experiment each run.
        """
        if len(self.members) == 1:
            return [self.main]
        groups: dict[Any, list[int]] = {}
        for row, member in enumerate(self.members):
            groups.setdefault(member.experiment or row, []).append(row)
        if len(groups) == 1:
            groups = {row: [row] for row in range(len(self.members))}
        names = [
            "/".join(key.parts[-2:]) if isinstance(key, Path) else self.members[key].name
            for key in groups
        ]
        together = [
            self._system(name, lambda answer, rows=rows: _mean(answer.members[rows]))
            for name, rows in zip(_distinct(names), groups.values(), strict=True)
        ]
        return [self.main, *together]

    def _without(self) -> dict[str, dict[str, Any]]:
        """Scores with each modality hidden, where more than one is read."""
        result = {}
        for name in self.answers[0].without:
            system = self._system(name, lambda answer, name=name: answer.without[name])
            if system.answered.any() and not np.allclose(
                system.probabilities, self.main.probabilities, atol=0, rtol=0, equal_nan=True
            ):
                result[name] = system.score(self.class_names, RESAMPLES)
        return result

    def _shared(self) -> list[str]:
        """The classes that answers are among, where these are not all of the model's."""
        among = self.predictor.among
        return [] if among is None else [self.class_names[number] for number in among]

    def _sexes(self) -> list[str]:
        return [answer.item.clip.sex for answer in self.answers]

    def _abstain(self) -> dict[str, Any]:
        if self.threshold is None:
            return {}
        known = self.main.answered
        return outcome(self.threshold, self.main.probabilities[known], self.labels[known])

    def _stress(self) -> dict[str, dict[str, Any]]:
        """Scores under each condition, of the media files among the clips; the first is as they
        are.
        """
        if not self.worse:
            return {}
        rows = self.main.probabilities
        systems = {"as they are": rows} | self.worse
        return {
            name: System(name, found, self.labels, self.main.speakers).score(
                self.class_names, RESAMPLES
            )
            for name, found in systems.items()
            if np.isfinite(found).all(axis=1).any()
        }

    # -- clips -----------------------------------------------------------------------------------

    def _mistakes(self) -> list[int]:
        """Rows of the most confident wrong answers."""
        wrong = np.flatnonzero(self.main.answered & (self.main.answers != self.labels))
        confidence = self.main.probabilities[wrong].max(axis=1)
        return wrong[np.argsort(-confidence, kind="stable")][:SHOWN].tolist()

    def _surest(self) -> list[int]:
        """Rows of the clips to look at, one of each class: the surest right answer; where none is
        right, the surest that says so.
        """
        found = []
        confidence = np.nan_to_num(self.main.probabilities).max(axis=1)
        for number in range(len(self.class_names)):
            said = np.flatnonzero(self.main.answered & (self.main.answers == number))
            right = said[self.labels[said] == number]
            rows = right if len(right) else said
            if len(rows):
                found.append(int(rows[confidence[rows].argmax()]))
        return found[:MOST_CLASSES]

    def _describe(self, row: int) -> dict[str, Any]:
        probabilities, label = self.main.probabilities[row], int(self.labels[row])
        answer = int(probabilities.argmax())
        return {
            "id": self.answers[row].item.clip.id,
            "answer": self.class_names[answer],
            "confidence": float(probabilities[answer]),
            "label": self.class_names[label],
            "label_probability": float(probabilities[label]),
            "modalities": present(self.answers[row].record, self.predictor.readings),
        }

    # -- pictures --------------------------------------------------------------------------------

    def _draw(self, numbers: dict[str, Any]) -> None:
        scores = numbers["scores"]
        if scores["clips"]:
            path = self._picture("confusion", "", "confusion.png")
            draw_confusion(np.array(scores["confusion"]), self.class_names, path)
            path = self._picture("reliability", "", "reliability.png")
            draw_reliability(numbers["reliability"], scores["calibration_error"], path)
        for number, row in enumerate(self._mistakes()):
            said = self._describe(row)
            caption = (
                f"{said['id']}: answered {self.full[said['answer']]} "
                f"({_percent(said['confidence'])}), labelled {self.full[said['label']]} "
                f"({_percent(said['label_probability'])})"
            )
            path = self._picture("mistakes", caption, f"mistake_{number}.png", row)
            draw_mistake(self._scene(row, self._looker(row)), path)
        for number, row in enumerate(self._surest()):
            said = self._describe(row)
            right = said["answer"] == said["label"]
            judged = "right" if right else f"wrong: labelled {self.full[said['label']]}"
            answer = f"{self.full[said['answer']]} ({_percent(said['confidence'])})"
            caption = f"{said['id']}: {answer}, {judged}"
            path = self._picture("attention", caption, f"attention_{number}.png", row)
            self._draw_attention(row, path)
        self._draw_trust(numbers)
        self._draw_curves()

    def _draw_trust(self, numbers: dict[str, Any]) -> None:
        """By speaker, where some answers stay open, and under stress."""
        groups = {**numbers["by_sex"], **numbers["by_speaker"]}
        if groups:
            draw_scores(groups, self._picture("groups", "", "groups.png"))
        if self.main.answered.any():
            path = self._picture("risk", "", "risk.png")
            draw_risk(numbers["risk"]["points"], numbers["abstain"], path)
        if numbers["stress"]:
            draw_scores(numbers["stress"], self._picture("stress", "", "stress.png"))

    def _picture(self, kind: str, caption: str, name: str, row: int | None = None) -> Path:
        """Where a picture goes; with the clip of a ``row`` to be played."""
        path = self.folder / "pictures" / name
        media = {} if row is None else media_of(self.answers[row].item, self.folder)
        self.pictures.setdefault(kind, []).append(Picture(caption, path, **media))
        return path

    def _looker(self, row: int) -> Member:
        """The model whose view of a clip is shown: of those that answered, a fused one if any."""
        answered = np.isfinite(self.answers[row].members).all(axis=1)
        able = [member for member, did in zip(self.members, answered, strict=True) if did]
        return max(able, key=lambda member: len(member.recipe.parts))

    def _features(self, row: int, member: Member) -> ClipFeatures:
        return self.reader.features(row, Reading.of(member))[0]

    def _scene(self, row: int, member: Member) -> Scene:
        return scene_of(self.answers[row].item, self._features(row, member))

    def _draw_attention(self, row: int, path: Path) -> None:
        member = self._looker(row)
        clip = self._features(row, member)
        sample = self.reader.sample(row, clip, Reading.of(member))
        attention = attention_over_time(member, sample, self.predictor.device)
        backdrops = {p.modality: registry.feature(p.feature).backdrop for p in member.recipe.parts}
        draw_attention(scene_of(self.answers[row].item, clip), attention, backdrops, path)

    def _draw_curves(self) -> None:
        """Learning curves of the members that lie in a run folder; not of a refit, which learnt
        the clips that validate it.
        """
        for number, member in enumerate(self.members):
            checkpoint = member.checkpoint.path
            path = checkpoint.parent / "metrics.csv"
            refit = checkpoint.parent.name == REFIT
            if BEST.match(checkpoint.name) and path.is_file() and not refit:
                try:
                    history = _history(path)
                except UserError as error:  # the scores are worth more than a picture
                    warn(str(error))
                    continue
                picture = self._picture("curves", member.name, f"curves_{number}.png")
                draw_curves(history, member.checkpoint.epoch, picture)


def label_of(item: Item, label: str) -> int:
    """Class index of one label of an item, -1 where there is none."""
    value = getattr(item.clip.labels, label)
    return -1 if value is None else value


def labelled(answers: Sequence[Answer], label: str) -> list[Answer]:
    """The answers whose clips carry the label.

    Raises:
        UserError: none does, or none of those that do has an answer.
    """
    known = [answer for answer in answers if label_of(answer.item, label) >= 0]
    if not known:
        raise UserError(
            f"none of the {len(answers)} clips has the {label} label; give --labels FILE, or clips "
            "named or listed with labels"
        )
    if not any(answer.given for answer in known):
        raise UserError(f"none of the {len(known)} labelled clips has an answer: nothing to score")
    return known


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that no two share: a number is added where they do."""
    return [
        f"{name} ({names[: row + 1].count(name)})" if names.count(name) > 1 else name
        for row, name in enumerate(names)
    ]


def _mean(answers: np.ndarray) -> np.ndarray:
    """(classes,) of the models that were asked, (models, classes); NaN where none was."""
    given = answers[np.isfinite(answers).all(axis=1)]
    return given.mean(axis=0) if len(given) else np.full(answers.shape[1], np.nan)


def _history(path: Path) -> list[dict[str, float]]:
    mend = "the report has no curves"
    heading, rows = read_csv(path, mend)
    missing = [name for name in CURVES if name not in heading]
    try:
        if missing or not rows:
            raise ValueError(f"no {' '.join(missing) or 'rows'}")
        return [{name: float(row[name]) for name in CURVES} for row in rows]
    except ValueError as error:
        raise UserError(f"{path}: damaged ({first_line(error)}); {mend}") from None
