"""Scores of a model on the clips of a run: each epoch on validation, the best one at the end."""

from pathlib import Path
from typing import Any

import torch
from scipy.special import softmax
from torch import nn
from torch.utils.data import DataLoader

from emotion import distributed
from emotion.data.examples import TARGETS, Example
from emotion.errors import UserError
from emotion.files import write_csv
from emotion.metrics import SCALARS, score
from emotion.models.checkpoint import best_checkpoint, load_checkpoint
from emotion.models.devices import place
from emotion.models.evaluate import Predictions, evaluate
from emotion.training.setup import Loaders, Task

SHORT = {"accuracy": "acc", "unweighted_average_recall": "ua", "calibration_error": "ece"}


def predict(
    model: nn.Module,
    loader: DataLoader,
    examples: list[Example],
    device: torch.device,
    amp: torch.dtype | None,
    *,
    without: str = "",
) -> Predictions:
    """Answers for the clips of a part, in its order."""
    order = [example.record.stem for example in examples]
    return evaluate(model, loader, order, device, amp, without=without)


def validation_row(task: Task, predictions: Predictions) -> dict[str, float]:
    """Scores of the main head under plain names, on the integrated label, and of other heads."""
    scores = head_scores(task, predictions)
    main = scores[task.main_head]
    row = {f"valid_{SHORT.get(name, name)}": main[name] for name in SCALARS}
    integrated = scores["on_integrated"]
    row["integrated_acc"] = integrated["accuracy"]
    row["integrated_ua"] = integrated["unweighted_average_recall"]
    for head in list(task.targets)[1:]:
        row[f"{head}_loss"] = scores[head]["loss"]
        row[f"{head}_acc"] = scores[head]["accuracy"]
    return row


def head_scores(task: Task, predictions: Predictions) -> dict[str, dict[str, Any]]:
    """Head -> scores on its label; ``on_integrated`` is the main head on the integrated one."""
    labels = {head: (head, label) for head, label in task.targets.items()}
    labels["on_integrated"] = (task.main_head, "integrated")
    return {
        name: score(
            predictions.logits[head], predictions.targets[:, TARGETS.index(label)], task.class_names
        )
        for name, (head, label) in labels.items()
    }


def final_scores(
    folder: Path,
    task: Task,
    loaders: Loaders,
    device: torch.device,
    amp: torch.dtype | None,
    *,
    learnt: bool = False,
) -> dict[str, Any]:
    """Score the best epoch once: on validation, on test where it is labelled, on both without each
    modality; the answers go to ``predictions_valid.csv`` and ``predictions_test.csv``.

    ``learnt``: it was trained on the validation clips too, so that only test tells anything.
    """
    path = best_checkpoint(folder)
    if path is None:
        raise UserError(f"{folder}: validation loss was never finite; lower --learning_rate")
    checkpoint = load_checkpoint(path)
    model = place(checkpoint.build(), device)
    result: dict[str, Any] = {
        "mode": task.recipe.mode,
        "notice": task.feature_settings.get("notice", ""),
        "best_checkpoint": str(path),
        "best_epoch": checkpoint.epoch,
        "parameters": count_parameters(model),
        "target": task.targets[task.main_head],
    }
    for name, examples in (("valid", task.parts.val), ("test", task.parts.test)):
        if not examples or (learnt and name == "valid"):
            continue
        loader = loaders.evaluation(examples)
        predictions = predict(model, loader, examples, device, amp)
        if distributed.is_main():
            write_predictions(folder / f"predictions_{name}.csv", task, predictions)
        scores = head_scores(task, predictions)
        result[name] = scores[task.main_head] | {"heads": scores}
        if task.recipe.fusion:
            result[name]["without"] = {
                modality: head_scores(
                    task, predict(model, loader, examples, device, amp, without=modality)
                )["on_integrated"]
                for modality in task.recipe.modalities
            }
    return result


def write_predictions(path: Path, task: Task, predictions: Predictions) -> None:
    """One row per clip: its name, its labels, the answer and each class's probability."""
    logits = predictions.logits[task.main_head]
    names = (*task.class_names, "")  # -1 is unlabelled
    rows = [
        [clip, *(names[target] for target in targets), names[answer], *(f"{x:.6f}" for x in shares)]
        for clip, targets, answer, shares in zip(
            predictions.ids,
            predictions.targets,
            logits.argmax(axis=1),
            softmax(logits, axis=1),
            strict=True,
        )
    ]
    write_csv(path, ["clip", *TARGETS, "prediction", *task.class_names], rows)


def count_parameters(model: nn.Module) -> int:
    """Weights of a model."""
    return sum(parameter.numel() for parameter in model.parameters())
