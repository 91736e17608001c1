"""Small files that a program wrote and something damaged: one line, or what is whole is used."""

import contextlib
import gzip
import io
import json
import zipfile

import numpy as np
import pytest

from emotion.data.folds import Folds, assign_folds
from emotion.errors import UserError
from emotion.frozen.word_vectors import LONGEST_LINE, WordVectors
from emotion.inputs.store import Failure, FeatureStore, load_archive
from emotion.prediction.calibration import (
    Calibration,
    calibration_path,
    read_temperature,
    write_calibration,
)
from emotion.prediction.inputs import find_items, read_labels
from emotion.prediction.report import _history
from emotion.preprocessing.journal import Journal, Outcome, read_known
from emotion.training.setup import build_task
from emotion.training.sweep import read_result
from emotion.training.table import table
from tests.features import make_features
from tests.training.runs import options_of, run_of

VALUES = (None, [], {}, "x", -1, 1.5, 10**400, True)  # in place of each value of a JSON file
NESTED = b"[" * 100_000


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Features of one split and a run on a fold of them."""
    root = tmp_path_factory.mktemp("lists")
    make_features(root / "features", clips={"all": 24}, speakers=8, n_classes=3, text_dim=12)
    flags = {"n_folds": 4, "n_epoch": 1, "seed": [0]}
    return root / "features", run_of(root / "features", root / "logs", fold=1, **flags)


@pytest.fixture
def run(trained):
    return trained[1] / "seed_0"


def cut_and_changed(content, rng):
    """A file cut off at a tenth, two tenths, ..., and with bytes of it changed, and nonsense."""
    yield from (content[: len(content) * tenth // 10] for tenth in range(10))
    for _ in range(10):
        copy = bytearray(content)
        for place in rng.integers(0, len(copy), 3):
            copy[place] = rng.integers(256)
        yield bytes(copy)
    yield from (
        b"",
        b"\0" * 100,
        b"\xff\xfe" + content,
        NESTED,
        b"null",
        b"[]",
        b"{}",
        b'"x"',
        b"1",
    )


def other_values(content):
    """A JSON file in which one value after the other is another kind of thing, or missing."""
    whole = json.loads(content)
    for path in paths_of(whole):
        for value in (*VALUES, ...):
            copy = json.loads(content)
            *above, last = path
            place = copy
            for step in above:
                place = place[step]
            if value is ...:
                del place[last]
            else:
                place[last] = value
            yield json.dumps(copy).encode()


def paths_of(value, at=()):
    """Steps to every value, of the first of the items of a list alone, three deep."""
    if at:
        yield at
    if len(at) < 3:
        inside = value.items() if isinstance(value, dict) else ()
        inside = [(0, value[0])] if isinstance(value, list) and value else inside
        for name, one in inside:
            yield from paths_of(one, (*at, name))


def check(path, use, tally, kind, most=400):
    """Use the file in all its damages; whatever is raised is a UserError of one line."""
    content = path.read_bytes()
    cases = list(cut_and_changed(content, np.random.default_rng(0)))
    if path.suffix == ".json":
        cases += list(other_values(content))[:most]
    lost = []
    for case in cases:
        path.write_bytes(case)
        try:
            use()
        except UserError as error:
            if "\n" in str(error):
                lost.append((case[:200], error))
        except Exception as error:
            lost.append((case[:200], error))
    path.write_bytes(content)
    use()
    tally(kind, len(cases), len(lost))
    assert lost == []


def test_features_json(trained, tmp_path, tally):
    features, _ = trained
    options = options_of(features, tmp_path, n_folds=4)
    check(features / "features.json", lambda: build_task(options), tally, "features.json")


@pytest.mark.parametrize("name", ["manifest.csv", "failures.csv"])
def test_lists_of_features(trained, tmp_path, tally, name):
    features, _ = trained
    store, options = FeatureStore(features), options_of(features, tmp_path, n_folds=4)
    store.write_failures("all", [Failure("all000", "speech", "broken")])

    def use():
        build_task(options)
        read_known(store)

    check(features / "all" / name, use, tally, name)


def test_result_json_in_the_table(trained, run, tally):
    logs = trained[1].parent.parent
    (logs / "text" / "single").mkdir(exist_ok=True)
    path = logs / "text" / "single" / "result.json"
    path.write_bytes((run / "result.json").read_bytes())
    check(path, lambda: table(logs), tally, "result.json")
    path.unlink()


def test_summary_json_in_the_table(trained, tally):
    check(
        trained[1] / "summary.json",
        lambda: table(trained[1].parent.parent),
        tally,
        "summary.json",
    )


def test_a_damaged_result_is_no_result(trained, run, tally):
    """`--resume True` took an empty result.json for a finished run."""
    features, folder = trained
    path = run / "result.json"
    whole = json.loads(path.read_text())
    for content in (b"", b"{", b"{}", b"[]"):
        path.write_bytes(content)
        assert read_result(run) is None
        run_of(features, folder.parent.parent, fold=1, n_folds=4, n_epoch=1, seed=[0], resume=True)
        assert json.loads(path.read_text()) == whole
    tally("result.json", 4)


def test_config_json_in_predict(trained, run, tally):
    features, _ = trained
    from emotion.prediction.members import load_members
    from tests.test_judges import CPU

    members = load_members([str(run)], CPU, temperature=False)
    use = lambda: find_items([], "test", str(features), members)  # noqa: E731
    check(run / "config.json", use, tally, "config.json", most=2000)


def test_metrics_csv_in_a_report(run, tally):
    path = run / "metrics.csv"
    check(path, lambda: _history(path), tally, "metrics.csv")


def test_journal(trained, tally):
    """A line that is damaged is a clip that is done again."""
    store = FeatureStore(trained[0])
    journal = Journal(store)
    for record in store.read_manifest("all")[:3]:
        journal._append(Outcome("all", record, [Failure(record.stem, "x", "y")]))
    check(journal.path, lambda: read_known(store), tally, "journal")
    journal.path.unlink()


def test_folds_file(tmp_path, tally):
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({"folds": [["a", "b"], ["c"], ["d"]]}))
    check(path, lambda: assign_folds([*"abcd"], Folds(str(path), 1)), tally, "folds file")


def test_temperature_file(tmp_path, tally):
    weights = tmp_path / "1_best_1.0000.pth"
    write_calibration(weights, Calibration(1.5, 9, 1.0, 0.9, 0.1, 0.05))
    use = lambda: read_temperature(weights)  # noqa: E731
    check(calibration_path(weights), use, tally, "temperature file")


def test_labels_file(tmp_path, tally):
    path = tmp_path / "labels.csv"
    path.write_text("FileID,Emotion\n" + "".join(f"{n:03d},hap\n" for n in range(20)))
    check(path, lambda: read_labels(path, ("hap", "ang")), tally, "labels file")


def test_compressed_word_vectors(tmp_path, tally):
    path = tmp_path / "vectors.txt.gz"
    lines = "".join(f"w{n} {n}.5 1.0 2.0\n" for n in range(300))
    path.write_bytes(gzip.compress(lines.encode()))

    def use():
        with contextlib.redirect_stderr(io.StringIO()):
            WordVectors(path).prepare(["w1 w2 w299"])

    check(path, use, tally, "word vectors")


def test_a_line_without_an_end_is_no_word_vector(tmp_path, tally):
    path = tmp_path / "vectors.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(bytes(LONGEST_LINE))
    tally("word vectors")
    with pytest.raises(UserError, match="not in text format"):
        WordVectors(path)


def bomb(path, shape, real):
    """An npz whose array claims ``shape`` and unpacks to ``real`` bytes of zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("word_embed.npy", "w", force_zip64=True) as part,
    ):
        part.write(header.getvalue())
        for _ in range(real // (1 << 24)):
            part.write(bytes(1 << 24))


@pytest.mark.parametrize(
    ("shape", "real"), [((10**9, 200), 0), ((2**20, 300), 5 << 28), ((10**15, 200), 1 << 24)]
)
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, tally, shape, real):
    bomb(tmp_path / "a.npz", shape, real)
    tally("npz bombs")
    with pytest.raises((ValueError, MemoryError)):
        load_archive(tmp_path / "a.npz", ("word_embed",))
