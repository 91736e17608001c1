"""Several runs under one name, every fold or several seeds: their mean and spread."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from src.errors import UserError
from src.feature_store import write_atomic
from src.training.options import ALL_FOLDS, TrainOptions

SUMMARY = "summary.json"


def is_sweep(options: TrainOptions) -> bool:
    """Whether the flags ask for more than one run."""
    return bool(options.seeds) or options.fold == ALL_FOLDS


def members(options: TrainOptions) -> list[TrainOptions]:
    """The single runs, each in a folder of its own below the experiment's: fold_1, seed_2, ...

    Raises:
        UserError: all folds of no folds.
    """
    if not is_sweep(options):
        return [options]
    every = options.fold == ALL_FOLDS
    if every and not options.n_folds:
        raise UserError("--fold all: of how many? give --n_folds")
    runs = []
    for fold in range(1, options.n_folds + 1) if every else [options.fold]:
        for seed in options.seeds or [options.seed]:
            parts = [f"fold_{fold}"] * every + [f"seed_{seed}"] * bool(options.seeds)
            name = f"{options.exp_name}/{'_'.join(parts)}"
            runs.append(replace(options, exp_name=name, fold=fold, seed=seed, seeds=[]))
    return runs


def write_summary(folder: Path, runs: list[Path]) -> dict[str, Any]:
    """``summary.json``: of every number in the runs' result.json its mean, spread and values.

    The spread is the standard deviation of a sample (n - 1).
    """
    results = [json.loads((run / "result.json").read_text("utf-8")) for run in runs]
    summary = {"runs": [run.name for run in runs]} | _pooled(results)
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    write_atomic(folder / SUMMARY, lambda file: file.write(text.encode()))
    return summary


def _pooled(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Dictionaries are pooled by key, numbers summed up, what all share is kept."""
    pooled: dict[str, Any] = {}
    for key, first in results[0].items():
        values = [result.get(key) for result in results]
        if isinstance(first, dict) and all(isinstance(value, dict) for value in values):
            pooled[key] = _pooled(values)
        elif isinstance(first, float) and all(isinstance(value, float) for value in values):
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            pooled[key] = {"mean": float(np.mean(values)), "std": spread, "values": values}
        elif all(value == first for value in values):
            pooled[key] = first
    return pooled
