"""Finished runs side by side."""

import json

import pytest

from emotion.errors import UserError
from emotion.training.table import table


def scores(accuracy):
    return {"accuracy": accuracy, "unweighted_average_recall": 0.5, "macro_f1": 0.25, "clips": 8}


def write_result(folder, mode, accuracy, **more):
    result = {
        "mode": mode,
        "parameters": 1234567,
        "valid": {**scores(0.9), "heads": {"on_integrated": scores(accuracy)}, **more},
    }
    (folder / mode / "run").mkdir(parents=True)
    (folder / mode / "run" / "result.json").write_text(json.dumps(result))


def test_runs_stand_side_by_side_on_the_integrated_label(tmp_path):
    write_result(tmp_path, "speech", 0.625)
    without = {name: scores(0.375) for name in ("speech", "face", "text")}
    write_result(tmp_path, "multimodal", 0.75, without=without)
    lines = table(tmp_path).splitlines()
    assert lines[0].split() == ["run", "parameters", "WA", "UA", "macro-F1", "own", "WA", "clips"]
    assert lines[2].split()[:4] == ["multimodal/run", "1,234,567", "0.750", "0.500"]
    assert lines[3].split()[-4:] == ["0.250", "0.900", "8", "valid"]
    assert lines[4] == "multimodal/run without: speech 0.500, face 0.500, text 0.500 (UA)"


def test_a_folder_without_finished_runs_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no finished run"):
        table(tmp_path)
