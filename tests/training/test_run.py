"""Whole runs, tiny ones: what they leave behind, and what they refuse."""

import csv
import json
import re

import numpy as np
import pytest
import torch

from emotion.data.dataset import collate
from emotion.inputs.store import FeatureStore
from emotion.models.checkpoint import BEST, KEPT, best_checkpoint, load_checkpoint
from emotion.training.setup import Loaders, build_task
from tests.features import make_features
from tests.training.runs import assert_same_runs, metrics_of, names, options_of, refused, run_of

NUMBER = r"-?\d+\.\d{2,4}(e[-+]\d+)?"
START = re.compile(
    r"Start \S+: (speech|text|face|multimodal), [\d,]+ parameters, \d+ classes, "
    r"clips: train \d+, val \d+(, test \d+)?, device cpu"
)
EPOCH = re.compile(
    rf"Epoch \[(\d+)\]/\[(\d+)\] train_loss: {NUMBER} valid_loss: {NUMBER} valid_acc: {NUMBER}"
    rf"( \w+: {NUMBER})+"
)
DONE = re.compile(rf"Done \S+: best \S+\.pth valid_acc: {NUMBER} valid_ua: {NUMBER} .*")

# -- what a run leaves behind ---------------------------------------------------------------------


def test_a_run_leaves_the_files_of_the_design(finished):
    folder, _ = finished
    found = {path.name for path in folder.iterdir()}
    best = {name for name in found if BEST.match(name)}
    events = {name for name in found if name.startswith("events.")}
    assert len(events) == 1
    assert found - best - events == {
        "last.pth",
        "config.json",
        "metrics.csv",
        "curves.png",
        "confusion.png",
        "result.json",
        "predictions_valid.csv",
    }
    for name in ("curves.png", "confusion.png"):
        content = (folder / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000


def test_stdout_is_start_epochs_done_in_whole_lines(features, tmp_path, capsys):
    folder = run_of(features, tmp_path, n_epoch=3)
    out, err = capsys.readouterr()
    assert out.endswith("\n")
    start, *epochs, done = out.splitlines()
    assert START.fullmatch(start)
    assert DONE.fullmatch(done)
    assert str(best_checkpoint(folder)) in done
    matches = [EPOCH.fullmatch(line) for line in epochs]
    assert [(match[1], match[2]) for match in matches] == [("0", "3"), ("1", "3"), ("2", "3")]
    assert "Epoch [" not in err


def test_metrics_are_a_row_an_epoch_and_say_what_stdout_says(finished):
    folder, lines = finished
    rows = metrics_of(folder)
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert {"train_loss", "valid_loss", "valid_acc", "valid_ua", "valid_macro_f1", "lr"} <= set(
        rows[0]
    )
    for row, line in zip(rows, lines[1:-1], strict=True):
        shown = re.search(r"valid_loss: (\S+) valid_acc: (\S+)", line)
        assert shown[1] == f"{float(row['valid_loss']):.4f}"
        assert shown[2] == f"{float(row['valid_acc']):.4f}"
    assert float(rows[-1]["lr"]) == pytest.approx(0, abs=1e-9)


def test_config_holds_flags_what_they_came_to_and_where_it_ran(finished, features):
    config = json.loads((finished[0] / "config.json").read_text())
    assert config["options"]["learning_rate"] == 1e-2
    assert config["options"]["mode"] == "text"
    assert config["resolved"]["clips"] == {"train": 8, "val": 7, "test": 0}
    assert config["resolved"]["features"]["audio"]
    assert config["resolved"]["targets"] == {"text": "integrated"}
    assert config["versions"].keys() >= {"python", "torch", "numpy"}
    assert config["hardware"]["cpus"] == 1
    assert "revision" in config


def test_the_result_is_the_best_epochs(finished):
    folder, _ = finished
    result = json.loads((folder / "result.json").read_text())
    rows = metrics_of(folder)
    best = min(rows, key=lambda row: float(row["valid_loss"]))
    assert result["best_epoch"] == int(best["epoch"])
    assert result["valid"]["loss"] == pytest.approx(float(best["valid_loss"]), rel=1e-6)
    assert result["valid"]["accuracy"] == float(best["valid_acc"])
    assert result["best_checkpoint"] == str(best_checkpoint(folder))
    assert np.array(result["valid"]["confusion"]).sum() == 7
    assert result["valid"].keys() >= {"per_class", "calibration_error", "weighted_f1", "macro_f1"}
    assert "test" not in result


def test_best_checkpoints_are_named_by_epoch_and_loss_and_pruned(finished):
    folder, _ = finished
    rows, lowest, written = metrics_of(folder), float("inf"), []
    for row in rows:
        if float(row["valid_loss"]) < lowest:
            lowest = float(row["valid_loss"])
            written.append(f"{row['epoch']}_best_{lowest:.4f}.pth")
    assert len(written) > KEPT
    assert names(folder) == sorted([*written[-KEPT:], "last.pth"])


def test_a_checkpoint_is_plain_and_rebuilds_its_model_by_itself(finished, features):
    folder, _ = finished
    path = best_checkpoint(folder)
    content = torch.load(path, weights_only=True)
    assert content["class_names"][:2] == ["hap", "ang"]
    assert content["features"]["face_stride"] == 8
    assert not any(name.startswith("module.") for name in content["model"])
    assert "training" not in content
    checkpoint = load_checkpoint(path)
    model = checkpoint.build()
    assert not model.training
    options = options_of(features, folder)
    task = build_task(options)
    dataset = Loaders(task, options, torch.device("cpu")).dataset(task.parts.val)
    batch = collate([dataset[0, row] for row in range(7)])
    with torch.no_grad():
        logits = model(batch.inputs)["text"]
    accuracy = (logits.argmax(1) == batch.targets[:, 0]).double().mean()
    assert float(accuracy) == checkpoint.metrics["valid_acc"]


def test_two_seeded_runs_are_equal_and_another_seed_is_not(features, tmp_path):
    first = run_of(features, tmp_path / "1", n_epoch=2)
    assert_same_runs(first, run_of(features, tmp_path / "2", n_epoch=2))
    other = run_of(features, tmp_path / "3", n_epoch=2, seed=1)
    assert metrics_of(first) != metrics_of(other)


def test_nothing_of_a_run_is_half_written(finished):
    assert not list(finished[0].rglob("*.partial"))
    assert FeatureStore(finished[0]).splits() == []


def test_answers_are_written_down_and_give_the_scores_again(features, tmp_path):
    folder = run_of(features, tmp_path, n_epoch=1)
    with (folder / "predictions_valid.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    result = json.loads((folder / "result.json").read_text())["valid"]
    assert len(rows) == result["clips"] == 7
    right = [row["prediction"] == row["integrated"] for row in rows]
    assert np.mean(right) == pytest.approx(result["accuracy"])
    for row in rows:
        shares = {name: float(row[name]) for name in result["per_class"]}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert max(shares, key=shares.get) == row["prediction"]


# -- features that do not fit ---------------------------------------------------------------------


def test_no_features_are_refused(tmp_path):
    assert "run preprocess.py first" in refused(tmp_path / "none", tmp_path)


def test_a_label_that_is_no_class_names_file_and_clip(tmp_path):
    store = make_features(tmp_path / "features", clips={"train": 8, "val": 7})
    records = store.read_manifest("val")
    store.write_manifest("val", [records[0]._replace(integrated="joy"), *records[1:]])
    message = refused(tmp_path / "features", tmp_path / "logs")
    assert "val/manifest.csv: val000" in message
    assert "'joy'" in message


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"clips": {"train": 4}}, "val: no manifest.csv"),
        ({"clips": {"train": 4, "val": 0}}, "val: holds no clips"),
        ({"unlabelled": {"integrated": set(range(9))}}, "train: none of its 4 clips is labelled"),
        ({"modalities": ("speech",)}, "labelled clips has text"),
    ],
)
def test_a_split_that_cannot_be_used_is_named(tmp_path, change, part):
    make_features(tmp_path / "features", **{"clips": {"train": 4, "val": 4}, **change})
    assert part in refused(tmp_path / "features", tmp_path / "logs")


def test_features_of_another_format_are_refused(tmp_path):
    store = make_features(tmp_path, clips={"train": 2, "val": 2})
    path = store.root / "features.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    assert "features of format 9" in refused(tmp_path, tmp_path)
