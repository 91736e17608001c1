"""What is known of every clip: the manifests, and a line for each clip of a run under way."""

import json
from collections.abc import Iterator
from typing import NamedTuple, TextIO

from tqdm import tqdm

from src.feature_store import Failure, FeatureStore, Record


class Outcome(NamedTuple):
    """What a worker reports of a clip."""

    split: str
    record: Record
    failures: list[Failure]


class Journal:
    """Outcomes of a run under way, a line each, so that a killed run loses none."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.path = store.root / ".journal.jsonl"

    def read(self) -> dict[tuple[str, str], Outcome]:
        """What is known of every clip: the manifests, then what a killed run added."""
        known = {}
        for split in self.store.splits():
            failures: dict[str, list[Failure]] = {}
            for failure in self.store.read_failures(split):
                failures.setdefault(failure.stem, []).append(failure)
            for record in self.store.read_manifest(split):
                outcome = Outcome(split, record, failures.get(record.stem, []))
                known[split, record.stem] = outcome
        for outcome in self._lines():
            known[outcome.split, outcome.record.stem] = outcome
        return known

    def work(self, outcomes: Iterator[Outcome], known: dict, total: int) -> None:
        """Write each outcome down as it comes, with a progress bar; add it to ``known``."""
        if not total:
            return
        self.store.root.mkdir(parents=True, exist_ok=True)
        bar = tqdm(outcomes, total=total, unit="clip", desc="preprocess", smoothing=0.05)
        with self.path.open("a", encoding="utf-8") as file:
            for outcome in bar:
                self._append(file, outcome)
                known[outcome.split, outcome.record.stem] = outcome

    def remove(self) -> None:
        """Forget, once the manifests hold everything."""
        self.path.unlink(missing_ok=True)

    def _append(self, file: TextIO, outcome: Outcome) -> None:
        file.write(json.dumps(outcome, ensure_ascii=False) + "\n")
        file.flush()

    def _lines(self) -> Iterator[Outcome]:
        if not self.path.is_file():
            return
        for line in self.path.read_text("utf-8").splitlines():
            try:
                split, record, failures = json.loads(line)
                yield Outcome(split, Record(*record), [Failure(*f) for f in failures])
            except (ValueError, TypeError):  # the line a kill cut short; its clip is done again
                continue
