"""What predict.py does, from its flags."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotion.api import Predictor, collect
from emotion.errors import UserError
from emotion.machine import threads
from emotion.models.caption import captioned
from emotion.models.devices import loader_workers
from emotion.prediction.abstain import Threshold, choose_threshold, left_open, outcome
from emotion.prediction.answers import write_answers
from emotion.prediction.beforehand import check_given, tell_unused
from emotion.prediction.calibration import fit_temperature, write_calibration
from emotion.prediction.export import export
from emotion.prediction.inputs import (
    Item,
    find_items,
    items_of_words,
    read_labels,
    with_labels,
    words_alone,
)
from emotion.prediction.judges import Judges, judged, own_validation_clips
from emotion.prediction.members import Member
from emotion.prediction.notice import notice_of
from emotion.prediction.options import PredictOptions
from emotion.prediction.outputs import check_outputs
from emotion.prediction.predictor import Answer, Ensemble
from emotion.prediction.report import TEMPLATE, Report, label_of, labelled
from emotion.prediction.stress import CONDITIONS, stressed
from emotion.prediction.timeline import write_timelines
from emotion.telling import note, say

REPORTED = {
    "WA": "accuracy",
    "UA": "unweighted_average_recall",
    "macro-F1": "macro_f1",
    "weighted F1": "weighted_f1",
}


LONG = 15.0  # seconds: of a file that is more than one clip


def predict(options: PredictOptions) -> int:
    """Answer, score, calibrate or export, as the flags say; returns the exit code.

    Raises:
        UserError: flags, checkpoints or inputs that do not fit.
    """
    if options.video:
        options = replace(options, timeline=True)
    if options.abstain and options.timeline:
        raise UserError("--abstain chooses among answers to whole clips; leave --timeline out")
    check_given(options)
    torch.set_num_threads(threads())
    predictor = Predictor.of(options)
    members = predictor.members
    tell_unused(options, members)
    if options.export:
        check_outputs(options, members, [])
        return _export(options, members)
    items = _items(options, members)
    if options.stress:
        _check_stress(options, items)
    check_outputs(options, members, items)
    if options.calibrate:
        return _calibrate(options, predictor.over(items), items)
    with captioned(notice_of(members)):
        return _write(options, predictor, items)


def _write(options: PredictOptions, predictor: Predictor, items: list[Item]) -> int:
    """The answers, to clips or to windows, as a CSV; and the report."""
    items, judges = judged(items, predictor.members, bool(options.report))
    asked = None if options.timeline else judges  # windows are no items
    ensemble = predictor.over(items, asked, hide=bool(options.report))
    if options.timeline:
        answered = write_timelines(options, ensemble, items)
        say(f"{options.output}: {answered} of {len(items)} recordings answered")
        if options.video and answered:
            say(f"{options.video}: {items[0].name} with the answers to it")
        return 0 if answered else 1
    return _answer(options, ensemble, items, judges)


def _answer(options: PredictOptions, predictor: Ensemble, items: list[Item], judges: Judges) -> int:
    threshold = None
    if options.abstain:
        threshold = choose_threshold(
            options.abstain, predictor.members, options.label, predictor.among
        )
    answers = list(collect(options, predictor, items))
    _tell_long(answers)
    names = predictor.class_names
    notice = notice_of(predictor.members)
    write_answers(
        Path(options.output),
        answers,
        names,
        predictor.readings,
        probabilities=options.probabilities,
        threshold=threshold,
        notice=notice,
    )
    given = sum(answer.given for answer in answers)
    sure = sum(a.given and not left_open(a.probabilities, threshold) for a in answers)
    say(f"{options.output}: {sure} of {len(answers)} clips answered{_left_open(given - sure)}")
    if threshold:
        _say_threshold(threshold, answers, options.label)
    if options.report:
        worse = _stressed(options, predictor, items, answers) if options.stress else {}
        _report(options, predictor, answers, judges, threshold=threshold, worse=worse)
    return 0 if given else 1


def _tell_long(answers: Sequence[Answer]) -> None:
    """A line about media files in which more is said than in a clip."""
    media = [a for a in answers if a.item.store is None and a.record is not None]
    long = [answer for answer in media if answer.record.duration > LONG]
    if long:
        more = f", and {len(long) - 1} more are long too" if len(long) > 1 else ""
        note(
            f"{long[0].item.name} lasts {long[0].record.duration:.0f} s{more}: one answer is of "
            "clips of a few seconds; --timeline True answers window by window"
        )


def _left_open(count: int) -> str:
    return f", {count} left open" if count else ""


def _say_threshold(threshold: Threshold, answers: list[Answer], label: str) -> None:
    """What was chosen on validation, and what came out where labels are known."""
    known = [a for a in answers if a.given and label_of(a.item, label) >= 0]
    came = ""
    if known:
        labels = np.array([label_of(answer.item, label) for answer in known])
        out = outcome(threshold, np.stack([answer.probabilities for answer in known]), labels)
        came = (
            f"; of {len(known)} labelled clips {100 * out['coverage']:.1f} % are answered, "
            f"{100 * out['accuracy']:.1f} % of them rightly"
        )
    say(
        f"--abstain {threshold.wanted:g}: confidence {threshold.confidence:.4f}, chosen on "
        f"{threshold.clips} validation clips, where {100 * threshold.coverage:.1f} % are answered "
        f"and {100 * threshold.accuracy:.1f} % of them rightly{came}"
    )


def _report(
    options: PredictOptions,
    predictor: Ensemble,
    answers: list[Answer],
    judges: Judges,
    **trust: Any,
) -> None:
    folder = Path(options.report)
    known = labelled(answers, options.label)
    report = Report(
        folder,
        predictor,
        known,
        options.label,
        judges,
        **trust,
    )
    scores = report.write()["scores"]
    shown = ", ".join(f"{name} {scores[key]:.4f}" for name, key in REPORTED.items())
    say(f"{folder / TEMPLATE}: {scores['clips']} clips, {shown}")


def _stressed(
    options: PredictOptions, predictor: Ensemble, items: list[Item], answers: list[Answer]
) -> dict[str, np.ndarray]:
    """What is answered to the labelled clips when they get worse."""
    rows = [row for row, a in enumerate(answers) if label_of(a.item, options.label) >= 0]
    workers = loader_workers(options.num_workers)
    return stressed(predictor, items, rows, workers, len(CONDITIONS) * options.clip_timeout)


def _check_stress(options: PredictOptions, items: list[Item]) -> None:
    stored = next((item for item in items if item.store is not None), None)
    if not options.report:
        raise UserError("--stress True is told in the report; give --report DIR")
    if stored is not None:
        raise UserError(
            f"--stress True alters media files, and {stored.name} is a clip of features/; give "
            "--input FILES, with --labels where their names do not say the labels"
        )


def _export(options: PredictOptions, members: list[Member]) -> int:
    if len(members) > 1:
        raise UserError("--export writes one model; give one checkpoint to --weights")
    written = export(members[0], Path(options.export))
    say(
        f"{written.path}: inputs {' '.join(written.inputs)}; "
        f"largest difference from torch {written.difference:.1e}"
    )
    return 0


def _calibrate(options: PredictOptions, predictor: Ensemble, items: list[Item]) -> int:
    """Fit each model's own temperature on the labelled clips, and store it beside the model."""
    answers = labelled(list(collect(options, predictor, items)), options.label)
    labels = np.array([label_of(answer.item, options.label) for answer in answers])
    own = own_validation_clips([answer.item for answer in answers], predictor.members)
    for number, member in enumerate(predictor.members):
        probabilities = np.stack([answer.members[number] for answer in answers])
        known = np.isfinite(probabilities).all(axis=1) & own[:, number]
        if not known.any():
            raise UserError(
                f"{member.checkpoint.path}: answers none of the clips that it was not trained on; "
                "give those of its own validation"
            )
        logits = np.log(np.maximum(probabilities[known], 1e-300))
        fitted = fit_temperature(logits, labels[known])
        path = write_calibration(member.checkpoint.path, fitted)
        say(
            f"{path}: temperature {fitted.temperature:.4f}, on {fitted.clips} clips loss "
            f"{fitted.loss_before:.4f} -> {fitted.loss_after:.4f}, calibration error "
            f"{fitted.calibration_error_before:.4f} -> {fitted.calibration_error_after:.4f}"
        )
    return 0


def _items(options: PredictOptions, members: Sequence[Member]) -> list[Item]:
    split = options.split or ("val" if options.calibrate and not options.input else "")
    if (names := words_alone(options)) and not split:
        items = items_of_words(names)
    else:
        items = find_items(options.input, split, options.features_dir, members, options.class_map)
    if options.labels:
        names = members[0].checkpoint.class_names
        items = with_labels(items, read_labels(Path(options.labels), names))
    return items
