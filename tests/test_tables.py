"""Answers as JSON and Parquet: the numbers of the CSV, as numbers."""

import json

import numpy as np
import pytest

from emotion.corpora.qia2020 import EMOTIONS
from emotion.errors import UserError
from emotion.prediction import tables
from emotion.prediction.run import predict
from emotion.prediction.tables import write_table
from tests.media import noise, tone, write_clip
from tests.prediction import (
    PLAIN,
    make_checkpoint,
    options_of,
    probabilities_of,
    rows_of,
    text_split,
)
from tests.slim import slim


def read_table(path):
    if path.suffix == ".json":
        return json.loads(path.read_text("utf-8"))
    parquet = pytest.importorskip("pyarrow.parquet")
    return parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_every_ending_says_the_same(tmp_path, ending):
    weights, flags = text_split(tmp_path, 4, absent={"text": {2}})
    flags["probabilities"] = True
    path = tmp_path / f"answers.{ending}"
    assert predict(options_of(weights, tmp_path, **flags)) == 0
    assert predict(options_of(weights, tmp_path, output=str(path), **flags)) == 0
    for row, found in zip(rows_of(tmp_path / "answers.csv"), read_table(path), strict=True):
        assert list(found) == list(row)
        for name in ("FileID", "Emotion", "modalities"):
            assert found[name] == (row[name] or None)
        if row["Emotion"]:
            assert [found[name] for name in EMOTIONS] == probabilities_of(row)
        else:
            assert {found[name] for name in EMOTIONS} == {None}


def test_a_timeline_is_a_table_too(tmp_path, monkeypatch):
    slim(monkeypatch)
    clip = write_clip(tmp_path / "a.wav", None, np.concatenate([tone(1.0, 300), noise(1.0)]))
    weights = make_checkpoint(tmp_path, "speech", features=PLAIN)
    options = options_of(
        weights, tmp_path, input=[str(clip)], output=str(tmp_path / "t.json"), timeline=True,
        window=1.0, hop=0.5,
    )  # fmt: skip
    assert predict(options) == 0
    rows = read_table(tmp_path / "t.json")
    assert [(row["start"], row["end"]) for row in rows] == [(0, 1), (0.5, 1.5), (1, 2)]
    assert (tmp_path / "t_a.png").is_file()


def test_odd_names_are_written(tmp_path):
    rows = [["=1+1", "hap", "0.5"], ["\udcff", "", ""]]
    for ending in ("json", "parquet"):
        path = tmp_path / f"x.{ending}"
        write_table(path, ["FileID", "Emotion", "hap"], rows)
    first, second = read_table(tmp_path / "x.parquet")
    assert first == {"FileID": "=1+1", "Emotion": "hap", "hap": 0.5}
    assert second == {"FileID": "\ufffd", "Emotion": None, "hap": None}
    assert b"=1+1" in (tmp_path / "x.json").read_bytes()


def test_a_missing_package_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "find_spec", lambda _: None)
    weights, flags = text_split(tmp_path, 2)
    with pytest.raises(UserError, match=r"--output .*x\.parquet: .* pip install pyarrow"):
        predict(options_of(weights, tmp_path, output=str(tmp_path / "x.parquet"), **flags))
