"""What a folder of features holds, told before anyone trains: ``preprocess.py --check``."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from emotion import registry
from emotion.data.folds import Folds, cells_of, fold_of_records
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.records import Record
from emotion.telling import say, tell

N_FOLDS = (3, 5, 6, 10)  # that are tried
LOOKED_AT = 300  # clips whose faces are opened to see how dark they are
QUIET, DARK = 20.0, 50.0  # dB below the middle; of 255
PERCENTILES = (5, 50, 95)
Rows = Sequence[tuple[str, Record]]  # split and record


def check(store: FeatureStore) -> int:
    """Print classes, modalities, speakers, feasible folds, and what clips lack; the exit code.

    Raises:
        UserError: there are no features.
    """
    description = store.read_description()
    if description is None or not store.splits():
        raise UserError(f"{store.root}: holds no features; run preprocess.py without --check first")
    rows = [(split, r) for split in store.splits() for r in store.read_manifest(split)]
    say(f"{store.root}: {description['corpus']}, {len(rows)} clips, {' '.join(store.splits())}")
    for split in store.splits():
        records = [record for own, record in rows if own == split]
        say("")
        say(f"{split}: clips (speakers) of each class")
        for line in class_table(records, description["class_names"]):
            say(line)
    if "all" in store.splits():
        say("")
        for line in fold_lines([record for _, record in rows]):
            say(line)
    say("")
    for line in [*lacking_lines(rows), *level_lines(rows), *light_lines(store, rows)]:
        say(line)
    return 0


def class_table(records: Sequence[Record], class_names: Sequence[str]) -> list[str]:
    """A line a class: its clips, and those that have each modality, with their speakers."""
    clips: Counter = Counter()
    speakers: dict[tuple[str, str], set[str]] = {}
    for record in records:
        for cell in cells_of(record):
            clips[cell] += 1
            speakers.setdefault(cell, set()).add(record.speaker)
    there = {name for _, name in clips} - {""}
    columns = ["", *(name for name in registry.modalities() if name in there)]
    heading = ["class", "clips", *columns[1:]]
    rows = [
        [name, *(f"{clips[name, c]} ({len(speakers.get((name, c), ()))})" for c in columns)]
        for name in class_names
    ]
    unlabelled = sum(not record.integrated for record in records)
    if unlabelled:
        rows.append(["(no label)", str(unlabelled), *[""] * len(columns[1:])])
    widths = [max(len(row[k]) for row in [heading, *rows]) for k in range(len(heading))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [heading, *rows]
    ]


def fold_lines(records: Sequence[Record]) -> list[str]:
    """Which numbers of folds have every class in every fold, and who has those that are not."""
    speakers = {record.speaker for record in records}
    if "" in speakers:
        return ["folds: none, because some clips name no speaker"]
    counts = dict.fromkeys([*(n for n in N_FOLDS if n < len(speakers)), len(speakers)])
    return [_fold_line(records, n) for n in counts if n >= 3] or [
        f"folds: none, because there are only {len(speakers)} speakers"
    ]


def _fold_line(records: Sequence[Record], n_folds: int) -> str:
    fold_of = fold_of_records(records, Folds(n_folds, 1))
    whose: dict[str, set[str]] = {}
    where: dict[str, set[int]] = {}
    for record in (r for r in records if r.integrated):
        whose.setdefault(record.integrated, set()).add(record.speaker)
        where.setdefault(record.integrated, set()).add(fold_of[record.speaker])
    short = [name for name in whose if len(where[name]) < n_folds]
    one_out = (
        " (one speaker left out)" if n_folds == len(set(fold_of.values())) == len(fold_of) else ""
    )
    if not short:
        return f"--n_folds {n_folds}{one_out}: every fold has every class"
    told = ", ".join(
        f"{name} in {len(where[name])}{_names(whose[name], n_folds)}" for name in short
    )
    drop = [name for name in short if len(where[name]) < 3]
    mend = f"; --drop_classes {' '.join(drop)} leaves out what cannot be trained" if drop else ""
    return f"--n_folds {n_folds}{one_out}: not every fold has every class: {told}{mend}"


def _names(speakers: set[str], n_folds: int) -> str:
    few = len(speakers) < n_folds and len(speakers) <= 8
    return f" (only speakers {' '.join(sorted(speakers))} have it)" if few else ""


def lacking_lines(rows: Rows) -> list[str]:
    """Of each modality how many clips have none of it, and why."""
    lines = []
    for modality in registry.modalities():
        reasons: Counter = Counter()
        for _, record in rows:
            names = registry.feature_names(record.states)
            states = {n: record.state(n) for n in names if n in record.states}
            own = [s for n, s in states.items() if registry.feature_line(n).modality == modality]
            if own and "ok" not in own:
                reasons[own[0]] += 1
        if reasons:
            why = ", ".join(f"{state} {count}" for state, count in reasons.most_common())
            lines.append(f"without {modality}: {reasons.total()} of {len(rows)} clips ({why})")
    return lines


def level_lines(rows: Rows) -> list[str]:
    """How loud the speech is, where that is known."""
    known = [r.facts["peak_db"] for _, r in rows if r.facts.get("peak_db") is not None]
    if not known:
        return []
    low, middle, high = np.percentile(known, PERCENTILES)
    quiet = [r.speaker for _, r in rows if r.fact("peak_db", middle) < middle - QUIET]
    whose = ", ".join(f"{name or '?'} {count}" for name, count in Counter(quiet).most_common(5))
    return [
        f"level of the speech, of {len(known)} clips: 9 in 10 from {low - middle:+.0f} to "
        f"{high - middle:+.0f} dB around the middle; {len(quiet)} more than {QUIET:.0f} dB below it"
        + (f" (speakers: {whose})" if quiet else "")
    ]


def light_lines(store: FeatureStore, rows: Rows) -> list[str]:
    """How light the faces are, on a sample of the clips that show one."""
    seen = [(split, record) for split, record in rows if record.state("video") == "ok"]
    chosen = np.random.default_rng(0).permutation(len(seen))[:LOOKED_AT]
    light = []
    for row in tqdm(sorted(chosen.tolist()), "faces", unit="clip", disable=None):
        try:
            track = StoredClip(store, *seen[row]).read("video")
            light.append(float(track.decode(np.flatnonzero(track.found)[:1], 32).mean()))
        except (UserError, ValueError) as error:
            tell(f"warning: {error}")
    if not light:
        return []
    low, middle, high = np.percentile(light, PERCENTILES)
    dark = sum(value < DARK for value in light)
    return [
        f"light of the faces, of {len(light)} clips: {middle:.0f} of 255, 9 in 10 from {low:.0f} "
        f"to {high:.0f}; {dark} below {DARK:.0f}"
    ]
