"""What all processes found, in one manifest: done by whichever finishes last."""

from contextlib import AbstractContextManager

from emotion import registry
from emotion.files import remove_partial_files
from emotion.inputs.store import FeatureStore
from emotion.locking import only_run_in
from emotion.preprocessing.jobs import label_columns
from emotion.preprocessing.journal import Known, Outcome, find_journals, read_known
from emotion.records import Clip, Corpus
from emotion.telling import note, say, tell

LISTS = ("manifest.csv", "failures.csv", "features.json", "contact.png")


def folder_lock(store: FeatureStore) -> AbstractContextManager[None]:
    """One process at a time, on all machines that share the folder; a kill sets it free."""
    return only_run_in(store.root, patient=True)


def merge(store: FeatureStore, corpus: Corpus, own: Known, even_if_incomplete: bool) -> Known:
    """Write manifests and failures where every clip is known; returns what is known.

    Args:
        store: where they go.
        corpus: all clips, whoever did them.
        own: what this process found, in case its journal was merged and removed meanwhile.
        even_if_incomplete: write the lists in any case, and keep the journals if clips are missing.
    """
    with folder_lock(store):
        known = read_known(store) | own
        rows = [_relabelled(known[key(c)], c, corpus) for c in corpus.clips if key(c) in known]
        complete = len(rows) == len(corpus.clips)
        if complete or even_if_incomplete:
            _write_lists(store, corpus, rows)
        if complete:
            for path in find_journals(store):
                path.unlink(missing_ok=True)
        return {(row.split, row.record.stem): row for row in rows}


def summarise(
    store: FeatureStore, corpus: Corpus, known: Known, done: int, max_failures: float
) -> int:
    """Print the summary line of a merged run; returns the exit code."""
    outcomes = known.values()
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    names = registry.feature_names({name for o in outcomes for name in o.record.states})
    counts = ", ".join(
        f"{name} {sum(o.record.state(name) == 'ok' for o in outcomes)}" for name in names
    )
    where = f" (see {store.root}/*/failures.csv)" if failed else ""
    say(
        f"{corpus.name}: {len(outcomes)} clips, {done} extracted now, {failed} failed{where}; "
        f"with {counts}; features in {store.root}"
    )
    missing = len(corpus.clips) - len(outcomes)
    if missing:
        note(f"{missing} clips are not extracted yet")
    too_many = failed > max_failures / 100 * len(outcomes)
    if too_many:
        tell(f"error: more than {max_failures:g} % of the clips failed")
    return int(too_many)


def key(clip: Clip) -> tuple[str, str]:
    """What a clip is known by."""
    return clip.split, clip.stem


def _relabelled(outcome: Outcome, clip: Clip, corpus: Corpus) -> Outcome:
    """With the labels of today, and what is known of the speaker: they may have been corrected."""
    labels = label_columns(clip, corpus)
    return outcome._replace(
        record=outcome.record._replace(**labels, speaker=clip.speaker or "", sex=clip.sex)
    )


def _write_lists(store: FeatureStore, corpus: Corpus, rows: list[Outcome]) -> None:
    names = registry.feature_names({name for row in rows for name in row.record.states})
    tables = [registry.feature(name).table for name in names]
    remove_partial_files(store.root, {*LISTS, *filter(None, tables)})
    for split in dict.fromkeys(clip.split for clip in corpus.clips):
        inside = [row for row in rows if row.split == split]
        store.write_manifest(split, [row.record for row in inside])
        store.write_failures(split, [failure for row in inside for failure in row.failures])
        for name in names:
            registry.feature(name).write_list(store, split, [row.record for row in inside])
