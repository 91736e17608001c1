"""Runs side by side: ``python -m emotion.training.table logs``."""

import argparse
from pathlib import Path

from emotion.command_line import run
from emotion.errors import UserError
from emotion.telling import say
from emotion.training.sweep import SUMMARY, read_scores

COLUMNS = ("run", "parameters", "WA", "UA", "macro-F1", "own WA", "clips")


def table(folder: Path) -> str:
    """Scores of all finished runs below ``folder``, on the integrated label.

    Test scores where the test part is labelled, else those of validation. Runs of several folds or
    seeds are one row: mean and standard deviation.

    Raises:
        UserError: there is no finished run.
    """
    paths = sorted([*folder.glob("*/*/result.json"), *folder.glob(f"*/*/{SUMMARY}")])
    if not paths:
        raise UserError(f"{folder}: holds no finished run; train one")
    rows = [COLUMNS, *(_row(path, folder) for path in paths)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines[1:1] = ["  ".join("-" * width for width in widths)]
    return "\n".join([*lines, *_without(paths, folder), *_notices(paths)])


def _scores(path: Path) -> dict:
    result = read_scores(path)
    return result | {"scored": result.get("test") or result["valid"]}


def _row(path: Path, folder: Path) -> tuple[str, ...]:
    result = _scores(path)
    scores = result["scored"]["heads"]["on_integrated"]
    runs = f" ({len(result['runs'])} runs)" if "runs" in result else ""
    return (
        f"{path.parent.relative_to(folder)}{runs}",
        f"{result['parameters']:,}",
        _number(scores["accuracy"]),
        _number(scores["unweighted_average_recall"]),
        _number(scores["macro_f1"]),
        _number(result["scored"]["accuracy"]),
        f"{scores.get('clips', '')} {'test' if 'test' in result else 'valid'}".strip(),
    )


def _number(score: float | dict[str, float] | None) -> str:
    if score is None:  # of no clips
        return "-"
    if isinstance(score, dict):
        spread = "" if score["std"] is None else f" ± {score['std']:.3f}"
        return f"{score['mean']:.3f}{spread}"
    return f"{score:.3f}"


def _notices(paths: list[Path]) -> list[str]:
    """What has to be known of models of some corpora."""
    found = [read_scores(path).get("notice", "") for path in paths]
    lines = dict.fromkeys(line for line in found if isinstance(line, str) and line)
    return [f"notice: {line}" for line in lines]


def _without(paths: list[Path], folder: Path) -> list[str]:
    lines = []
    for path in paths:
        without = _scores(path)["scored"].get("without")
        if without:
            shown = ", ".join(
                f"{name} {_number(scores['unweighted_average_recall'])}"
                for name, scores in without.items()
            )
            lines.append(f"{path.parent.relative_to(folder)} without: {shown} (UA)")
    return lines


def main() -> None:
    """Print the table and where the pictures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a logs folder")
    folder = parser.parse_args().folder
    for line in table(folder).splitlines():
        say(line)
    say(f"pictures: curves.png and confusion.png in each run's folder below {folder}")


if __name__ == "__main__":
    run(main)
