"""Trained on one corpus, tested on another: UA over the classes that both have.

    python benchmarks/cross_corpus.py ravdess=DIR nemo=DIR ased=DIR --out OUT -- --mode speech ...

Each corpus is a folder of features without official splits, under the name of its class map
(``recipes/maps/NAME.csv``). What follows ``--`` are flags of train.py. A model a fold is trained;
on its own corpus each answers its tested fold, on others they answer together, among the classes
that are shared. What is done is not done again; other flags
than those it was done with are refused.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from emotion.errors import UserError
from emotion.files import read_json
from emotion.paths import HOME

SCORE = "unweighted_average_recall"


def main() -> None:
    """Train, test, and print the matrix as a table of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+", help="NAME=FOLDER of features, each")
    parser.add_argument("--out", required=True, type=Path, help="where runs and reports go")
    parser.add_argument("--n_folds", default="5", help="of each corpus")
    known, flags = parser.parse_known_args()
    corpora = dict(given.partition("=")[::2] for given in known.corpora)
    flags = [flag for flag in flags if flag != "--"]
    mode = flags[flags.index("--mode") + 1]
    rows = {}
    for trained, folder in corpora.items():
        run = train(known.out, trained, folder, ["--n_folds", known.n_folds, *flags])
        for tested, other in corpora.items():
            report = known.out / mode / f"{trained}_on_{tested}"
            rows[trained, tested] = test(run, report, trained, other if tested != trained else "")
            print(line(trained, tested, rows[trained, tested]), file=sys.stderr)
    print(table(list(corpora), rows))


def train(out: Path, name: str, folder: str, flags: list[str]) -> Path:
    """Every fold of a corpus; the folder of its runs."""
    where = ["--features_dir", folder, "--logs_dir", str(out / "logs")]
    call("train.py", *where, "--exp_name", name, "--fold", "all", "--resume", *flags)
    return out / "logs" / flags[flags.index("--mode") + 1] / name


def test(run: Path, report: Path, trained: str, other: str) -> dict[str, Any]:
    """The report of the runs on another corpus, or on the folds that they test."""
    if not is_newer(report / "report.json", run.rglob("*_best_*.pth")):
        features = other or read_config(run)["options"]["features_dir"]
        split = ["--split", "all", "--class_map", str(HOME / "recipes" / "maps" / f"{trained}.csv")]
        where = split if other else ["--split", "test"]
        files = ["--report", str(report), "--output", str(report / "answers.csv")]
        report.mkdir(parents=True, exist_ok=True)
        call("predict.py", "--weights", str(run), "--features_dir", features, *where, *files)
    return read_json(report / "report.json", "remove it and run this again", dict)


def is_newer(path: Path, others: Iterable[Path]) -> bool:
    """Whether a file is there, made after all of the others."""
    return path.is_file() and all(path.stat().st_mtime > o.stat().st_mtime for o in others)


def read_config(run: Path) -> dict[str, Any]:
    """How the first of an experiment's runs was made."""
    first = sorted(run.glob("*/config.json"))[0]
    return read_json(first, "remove the run and run this again", dict)


def call(script: str, *flags: str) -> None:
    """One of the scripts at the root."""
    done = subprocess.run([sys.executable, str(HOME / script), *flags], stdout=sys.stderr)
    if done.returncode:
        raise UserError(f"{script} {' '.join(flags)} ended with {done.returncode}")


def shared(report: dict[str, Any]) -> list[str]:
    """The classes that are scored."""
    return [name for name, row in report["scores"]["per_class"].items() if row["clips"]]


def above_chance(report: dict[str, Any]) -> float:
    """UA less that of guessing among the shared classes, in points."""
    return 100 * (report["scores"][SCORE] - 1 / len(shared(report)))


def line(trained: str, tested: str, report: dict[str, Any]) -> str:
    """One pair in words."""
    return f"{trained} -> {tested}: UA {cell(report)}; classes {' '.join(shared(report))}"


def cell(report: dict[str, Any]) -> str:
    """UA with its interval, the number of classes, and points above chance."""
    scores = report["scores"]
    low, high = (100 * value for value in scores["intervals"][SCORE])
    return (
        f"{100 * scores[SCORE]:.1f} ({low:.1f} to {high:.1f}), {len(shared(report))} classes, "
        f"{above_chance(report):+.1f}"
    )


def table(names: list[str], rows: dict[tuple[str, str], dict[str, Any]]) -> str:
    """The matrix, and the mean off its diagonal."""
    lines = [f"| trained on | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for trained in names:
        cells = [cell(rows[trained, tested]) for tested in names]
        lines.append(f"| {trained} | {' | '.join(cells)} |")
    off = [above_chance(rows[pair]) for pair in rows if pair[0] != pair[1]]
    if off:
        lines.append(f"\nMean off the diagonal: {sum(off) / len(off):+.1f} points above chance.")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
