"""What predict.py does, from its flags."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from emotion.errors import UserError
from emotion.models.caption import captioned
from emotion.prediction.answers import write_answers
from emotion.prediction.api import Predictor, collect
from emotion.prediction.calibration import fit_temperature, write_calibration
from emotion.prediction.export import export
from emotion.prediction.inputs import Item, find_items, read_labels, with_labels
from emotion.prediction.judges import Judges, judged, own_validation_clips
from emotion.prediction.members import Member
from emotion.prediction.notice import notice_of
from emotion.prediction.options import PredictOptions
from emotion.prediction.outputs import check_outputs
from emotion.prediction.predictor import Answer
from emotion.prediction.predictor import Predictor as Ensemble
from emotion.prediction.report import TEMPLATE, Report, label_of, labelled
from emotion.prediction.timeline import write_timelines
from emotion.telling import say

REPORTED = {
    "WA": "accuracy",
    "UA": "unweighted_average_recall",
    "macro-F1": "macro_f1",
    "weighted F1": "weighted_f1",
}


def predict(options: PredictOptions) -> int:
    """Answer, score, calibrate or export, as the flags say; returns the exit code.

    Raises:
        UserError: flags, checkpoints or inputs that do not fit.
    """
    if options.calibrate and options.average_weights:
        raise UserError(
            "--calibrate True fits checkpoints as they are; leave --average_weights out"
        )
    torch.set_num_threads(options.threads)
    predictor = Predictor.of(options)
    members = predictor.members
    if options.export:
        check_outputs(options, members, [])
        return _export(options, members)
    items = _items(options, members)
    check_outputs(options, members, items)
    if options.calibrate:
        return _calibrate(options, predictor.over(items), items)
    with captioned(notice_of(members)):
        return _write(options, predictor, items)


def _write(options: PredictOptions, predictor: Predictor, items: list[Item]) -> int:
    """The answers, as a CSV of clips or of windows."""
    items, judges = judged(items, predictor.members, bool(options.report))
    asked = None if options.timeline else judges  # windows are no items
    ensemble = predictor.over(items, asked, hide=bool(options.report))
    if options.timeline:
        answered = write_timelines(options, ensemble, items)
        say(f"{options.output}: {answered} of {len(items)} recordings answered")
        return 0 if answered else 1
    return _answer(options, ensemble, items, judges)


def _answer(options: PredictOptions, predictor: Ensemble, items: list[Item], judges: Judges) -> int:
    answers = list(collect(options, predictor, items))
    names = predictor.members[0].checkpoint.class_names
    shown = (predictor.readings, options.probabilities, notice_of(predictor.members))
    write_answers(Path(options.output), answers, names, *shown)
    given = sum(answer.given for answer in answers)
    say(f"{options.output}: {given} of {len(answers)} clips answered")
    if options.report:
        _report(options, predictor, answers, judges)
    return 0 if given else 1


def _report(
    options: PredictOptions, predictor: Ensemble, answers: list[Answer], judges: Judges
) -> None:
    folder = Path(options.report)
    known = labelled(answers, options.label)
    report = Report(
        folder,
        predictor,
        known,
        options.label,
        judges,
        options.clips,
    )
    scores = report.write()["scores"]
    shown = ", ".join(f"{name} {scores[key]:.4f}" for name, key in REPORTED.items())
    say(f"{folder / TEMPLATE}: {scores['clips']} clips, {shown}")


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
    items = find_items(options.input, split, options.features_dir, members)
    if options.labels:
        names = members[0].checkpoint.class_names
        items = with_labels(items, read_labels(Path(options.labels), names))
    return items
