"""What is known of every clip: the manifests, and a line for each clip of the runs under way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from emotion.files import open_unlinked
from emotion.inputs.store import Failure, FeatureStore
from emotion.records import Record


class Outcome(NamedTuple):
    """What a worker reports of a clip."""

    split: str
    record: Record
    failures: list[Failure]


Known = dict[tuple[str, str], Outcome]  # by split and stem


class Journal:
    """Outcomes of one run under way, a line each, so that a killed run loses none."""

    def __init__(self, store: FeatureStore, name: str = "") -> None:
        """``name`` tells apart the journals of processes that work at the same time."""
        self.path = store.root / (f".journal.{name}.jsonl" if name else ".journal.jsonl")
        self.done: Known = {}

    def work(
        self, outcomes: Iterator[Outcome], known: Known, total: int, show: bool = True
    ) -> None:
        """Write each outcome down as it comes, with a progress bar; add it to ``known``."""
        if not total:
            return
        bar = tqdm(outcomes, "preprocess", total, unit="clip", smoothing=0.05, disable=not show)
        for outcome in bar:
            self._append(outcome)
            known[outcome.split, outcome.record.stem] = outcome
            self.done[outcome.split, outcome.record.stem] = outcome

    def _append(self, outcome: Outcome) -> None:
        # Opened each time: whoever merges meanwhile takes the file away.
        with open_unlinked(self.path, "a") as file:
            file.write(json.dumps(outcome) + "\n")


def read_known(store: FeatureStore) -> Known:
    """What is known of every clip: the manifests, then what runs not yet merged added."""
    known = {}
    for split in store.splits():
        failures: dict[str, list[Failure]] = {}
        for failure in store.read_failures(split):
            failures.setdefault(failure.stem, []).append(failure)
        for record in store.read_manifest(split):
            known[split, record.stem] = Outcome(split, record, failures.get(record.stem, []))
    for path in find_journals(store):
        for outcome in _read_lines(path):
            known[outcome.split, outcome.record.stem] = outcome
    return known


def find_journals(store: FeatureStore) -> list[Path]:
    """The journals of all runs that are not merged yet, the one written to last at the end."""
    times = {}
    for path in store.root.glob(".journal*.jsonl"):
        try:
            times[path] = path.stat().st_mtime_ns
        except FileNotFoundError:  # merged this moment
            continue
    return sorted(times, key=lambda path: (times[path], path.name))


def _read_lines(path: Path) -> Iterator[Outcome]:
    try:
        with open_unlinked(path, "rb") as file:
            lines = file.read().decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        return
    for line in lines:
        try:
            split, record, failures = json.loads(line)
            yield Outcome(split, Record(*record), [Failure(*f) for f in failures])
        except (
            ValueError,
            TypeError,
            RecursionError,
        ):  # cut short by a kill: done again
            continue
