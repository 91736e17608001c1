"""Several runs under one name, every fold or several seeds: their mean, spread and ensemble."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from emotion.data.folds import fold_count
from emotion.errors import UserError
from emotion.files import read_json, write_json
from emotion.models.checkpoint import SWEPT_RUN
from emotion.training.ensemble import ensemble_scores
from emotion.training.options import ALL_FOLDS, TrainOptions

SUMMARY = "summary.json"
SWEPT = ("fold", "valid_fold", "seed")


def is_sweep(options: TrainOptions) -> bool:
    """Whether the flags ask for more than one run."""
    return any(_swept(options).values())


def members(options: TrainOptions) -> list[TrainOptions]:
    """The single runs, each in a folder of its own below the experiment's: fold_1, seed_2, ...

    Raises:
        UserError: folds of no folds, or a validating fold that there is not.
    """
    swept = _swept(options)
    if not any(swept.values()):
        return [options]
    if options.fold == ALL_FOLDS and not options.n_folds:
        raise UserError("--fold all: of how many? give --n_folds")
    if swept["valid_fold"] and max(swept["valid_fold"]) >= fold_count(options.n_folds):
        raise UserError(
            f"--valid_fold {max(swept['valid_fold'])}: all but one of --n_folds {options.n_folds} "
            "can validate; give lower numbers, or more folds"
        )
    choices = [values or [getattr(options, name)] for name, values in swept.items()]
    runs = []
    for values in product(*choices):
        run = replace(options, **dict(zip(SWEPT, values, strict=True)))
        name = _run_name(run, [name for name in SWEPT if swept[name]])
        runs.append(replace(run, exp_name=f"{options.exp_name}/{name}"))
    return runs


def _swept(options: TrainOptions) -> dict[str, list[int]]:
    """The values of each flag that there is a run for, nothing where there is one value."""
    every = list(range(1, fold_count(options.n_folds) + 1)) or [ALL_FOLDS]
    given = {name: getattr(options, name) for name in SWEPT}
    several = {name: value if isinstance(value, list) else [] for name, value in given.items()}
    return several | ({"fold": every} if options.fold == ALL_FOLDS else {})


def run_names(options: TrainOptions) -> list[str]:
    """What a run of the same fold, validating fold and seed is called in an experiment of several
    runs, whichever of the three it varies; the closest first.
    """
    names = [part for count in (3, 2, 1) for part in combinations(SWEPT, count)]
    return [_run_name(options, part) for part in names]


def _run_name(options: TrainOptions, varied: Sequence[str]) -> str:
    return "_".join(f"{name}_{getattr(options, name)}" for name in varied)


def check_name(folder: Path, runs: Sequence[str]) -> None:
    """A name is of one run, or of an experiment whose runs vary the same flags: mixed, they would
    answer together.

    Args:
        folder: of the name.
        runs: what the runs of the experiment are called; none of a single run.

    Raises:
        UserError: the folder holds others.
    """
    held = sorted(path.parent.name for path in folder.glob("*/last.pth"))
    kinds = {_flags_of(run) for run in runs}
    other = [name for name in held if SWEPT_RUN.match(name) and _flags_of(name) not in kinds]
    if other:
        what = f"an experiment of several runs ({', '.join(other)})"
    elif runs and (folder / "last.pth").is_file():
        what = "a single run"
    else:
        return
    raise UserError(f"{folder}: holds {what}; give another --exp_name, or remove the folder")


def _flags_of(run: str) -> str:
    """``fold_seed`` of fold_1_seed_2."""
    return re.sub(r"_\d+", "", run)


def write_summary(folder: Path, runs: list[TrainOptions]) -> dict[str, Any]:
    """``summary.json``: of every number in the runs' result.json its mean, spread and values; and
    the same of ``ensemble``, the runs of each tested fold answering together.

    The spread is the standard deviation of a sample (n - 1).
    """
    folders = [folder.parent / run.exp_name for run in runs]
    results = [read_scores(run / "result.json") for run in folders]
    summary = {"runs": [run.name for run in folders]} | _pooled(results)
    by_fold: dict[int, list[Path]] = {}
    for run, place in zip(runs, folders, strict=True):
        by_fold.setdefault(run.fold, []).append(place)
    if any(len(group) > 1 for group in by_fold.values()):
        target = results[0]["target"]
        summary["ensemble"] = _pooled([ensemble_scores(g, target) for g in by_fold.values()])
    write_json(folder / SUMMARY, summary)
    return summary


def read_result(folder: Path) -> dict[str, Any] | None:
    """``result.json`` of a finished run; None where there is none, or none that can be read."""
    try:
        return read_scores(folder / "result.json")
    except UserError:
        return None


def read_scores(path: Path) -> dict[str, Any]:
    """A result.json or summary.json.

    Raises:
        UserError: it is missing or damaged.
    """
    return read_json(path, "remove it and run train.py --resume True again", _check_scores)


def _check_scores(result: dict[str, Any]) -> dict[str, Any]:
    scored = result.get("test") or result["valid"]
    for scores in (scored, scored["heads"]["on_integrated"]):
        for name in ("accuracy", "unweighted_average_recall", "macro_f1"):
            _check_number(scores[name])
    int(result["parameters"])
    len(result.get("runs", []))
    return result


def _check_number(value: Any) -> None:
    for number in (value["mean"], value["std"]) if isinstance(value, dict) else (value,):
        if number is not None:
            float(number)


def _pooled(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Dictionaries are pooled by key, numbers summed up, what all share is kept. Scores of no clips
    are left out, and a single number has no spread.
    """
    results = [result for result in results if result.get("clips") != 0] or results
    pooled: dict[str, Any] = {}
    for key, first in results[0].items():
        values = [result.get(key) for result in results]
        if isinstance(first, dict) and all(isinstance(value, dict) for value in values):
            pooled[key] = _pooled(values)
        elif isinstance(first, float) and all(isinstance(value, float) for value in values):
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
            pooled[key] = {"mean": float(np.mean(values)), "std": spread, "values": values}
        elif all(value == first for value in values):
            pooled[key] = first
    return pooled
