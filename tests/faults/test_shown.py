"""Names that act on a terminal or a spreadsheet are shown, and do nothing."""

import csv
import os
import re

import numpy as np
import pytest

from emotion.command_line import report
from emotion.errors import UserError
from emotion.files import defused, meant
from emotion.inputs.store import Failure, FeatureStore
from emotion.prediction.inputs import read_labels
from emotion.telling import printable, tell
from emotion.training.ensemble import read_answers
from emotion.training.run import run_folder
from tests.features import make_features
from tests.media import noise, tone, write_clip
from tests.training.runs import options_of, run_of
from tests.warm import run_script

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\nerror: pay \x9b31m\u202egpj\u2028b"
ACTIVE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
FORMULAS = ["=cmd|'/C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@x", "'-"]
PLAIN = ["", "'", "'tis", "a=b", "''", "ä", "1", "a'", "O'Hara", "a\nb"]


def test_active_characters_are_shown_escaped_and_others_as_they_are():
    text = printable(HOSTILE)
    assert not ACTIVE.search(text)
    assert text.startswith(r"a\x1b]0;owned\x07\x1b[2J\nerror: pay \x9b31m\u202egpj\u2028b")
    assert printable("Grüße, 你好 👋🏽 e\u0301 \\n") == "Grüße, 你好 👋🏽 e\u0301 \\n"
    assert printable(os.fsdecode(b"\xff")) == r"\udcff"


def test_an_error_is_one_line_whatever_it_names(capsys):
    report(UserError(f"{HOSTILE}: no such file"))
    tell(HOSTILE)
    said = capsys.readouterr().err
    assert not ACTIVE.search(said)
    assert said.count("\n") == 2


def test_preprocess_and_predict_print_no_names_that_act(tmp_path):
    folder = tmp_path / f"x{HOSTILE}".replace("/", "")
    folder.mkdir()
    write_clip(folder / "good.wav", None, tone(0.6, 300) + noise(0.6))
    (folder / "table.csv").write_text("id,path,label\n1,good.wav,good\n")
    command = ["preprocess.py", "--corpus", "table", "--data_dir", folder]
    command += ["--vggface_weights", "none", "--num_workers", "0", "--features_dir"]
    for features in (folder / "features", folder / "table.csv"):
        done = run_script(*command, features)
        lines = (done.stdout + done.stderr.split("\r")[-1]).splitlines()
        assert not any(map(ACTIVE.search, lines))
        assert len([line for line in lines if "owned" in line]) == 1
    done = run_script("predict.py", "--weights", folder / "none", "--input", folder / "good.wav")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --weights ")
    assert not ACTIVE.search(line)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "a\x9b", "a\u202eb", "a\u2028b", "\r"])
def test_an_experiment_is_not_called_by_control_characters(tmp_path, name):
    with pytest.raises(UserError, match="without slashes and control characters"):
        run_folder(options_of(tmp_path, tmp_path, exp_name=name))


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN])
def test_a_cell_is_read_as_it_was_and_is_no_formula(text):
    cell = defused(text)
    assert meant(cell) == text
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert (cell == text) == (text in PLAIN)
    assert meant(defused(defused(text))) == defused(text)


def test_numbers_stay_numbers():
    assert [defused(value) for value in (-1.5, -3, None)] == [-1.5, -3, None]


def test_manifest_and_failures_give_back_every_name(tmp_path):
    store = make_features(tmp_path, clips={"all": len(FORMULAS)})
    records = [
        record._replace(
            stem=name,
            id=name,
            speaker=name,
            integrated=name,
            facts=record.facts | {"peak_db": -27.5},
        )
        for record, name in zip(store.read_manifest("all"), FORMULAS, strict=True)
    ]
    store = FeatureStore(tmp_path)
    store.write_manifest("all", records)
    store.write_failures("all", [Failure(name, name, name) for name in FORMULAS])
    assert store.read_manifest("all") == records
    assert [failure.stem for failure in store.read_failures("all")] == FORMULAS
    with (tmp_path / "all" / "manifest.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    column = rows[0].index("peak_db")
    assert all(row[column] == "-27.5" for row in rows[1:])
    texts = [cell for row in rows for number, cell in enumerate(row) if number != column]
    assert not [cell for cell in texts if cell[:1] in "=+-@\t\r" and cell]


def test_answers_of_a_run_give_back_every_name(tmp_path):
    features = tmp_path / "features"
    store = make_features(features, clips={"train": 8, "val": 4})
    names = [f"={record.stem}" for record in store.read_manifest("val")]
    for record, name in zip(store.read_manifest("val"), names, strict=True):
        old = store.path("val", "text", record.id)
        old.rename(store.path("val", "text", name))
    renamed = [
        record._replace(stem=name, id=name)
        for record, name in zip(store.read_manifest("val"), names, strict=True)
    ]
    store.write_manifest("val", renamed)
    path = run_of(features, tmp_path / "logs", n_epoch=1) / "predictions_valid.csv"
    answers = read_answers(path, "integrated")
    assert sorted(answers.clips) == sorted(names)
    assert np.isfinite(answers.probabilities).all()
    assert "\n'=" in path.read_text()


def test_labels_may_be_answers_of_this_program(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("FileID,Emotion\n'=a,'-x\n")
    assert read_labels(path, ["-x"]) == {"=a": 0}
