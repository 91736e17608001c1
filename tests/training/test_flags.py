"""Flags of the engine in whole runs, and targets."""

import json
import re

import numpy as np
import pytest

from emotion.inputs.vectors import without_times
from emotion.models.devices import computes_in_bfloat16, loader_workers
from emotion.training.setup import build_task
from tests.features import make_features
from tests.training.runs import metrics_of, options_of, refused, run_of

# -- flags of the engine --------------------------------------------------------------------------


BF16 = computes_in_bfloat16()


@pytest.mark.parametrize("mode", ["text", "face"])
def test_half_precision_trains_on_a_cpu_or_is_noted(features, tmp_path, mode, capsys):
    plain = run_of(features, tmp_path / "plain", mode, learning_rate=1e-2)
    half = run_of(features, tmp_path / "half", mode, learning_rate=1e-2, amp=True)
    amp = json.loads((half / "config.json").read_text())["resolved"]["amp"]
    noted = "does not compute in bfloat16" in capsys.readouterr().err
    assert (amp, noted) == (("torch.bfloat16", False) if BF16 else ("None", True))
    for a, b in zip(metrics_of(plain), metrics_of(half), strict=True):
        assert float(a["valid_loss"]) == pytest.approx(float(b["valid_loss"]), abs=0.1)


def test_a_batch_that_does_not_fit_is_split_with_a_note(features, tmp_path, capsys):
    run_of(features, tmp_path, n_epoch=1, micro_batch="3")
    assert "3 at a time (--micro_batch)" in capsys.readouterr().err


def test_more_workers_than_cores_are_noted_and_not_started(monkeypatch, capsys):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert loader_workers(16) == 2
    assert "--num_workers 16: 2 are started" in capsys.readouterr().err
    assert loader_workers(1) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert loader_workers(16) == 1


def test_sixteen_workers_train_on_a_small_machine(features, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    run_of(features, tmp_path, n_epoch=1, num_workers=16)
    assert "--num_workers 16" in capsys.readouterr().err


def test_features_that_are_not_finite_are_one_line_that_names_the_file(tmp_path):
    store = make_features(tmp_path / "features", clips={"train": 8, "val": 7})
    words = np.full((3, 12), np.nan, np.float32)
    store.write("train", "text", "train003", without_times(words))
    message = refused(tmp_path / "features", tmp_path / "logs", mixup_prob=0.0)
    assert re.search(r"text/train003.npz: damaged \(it holds values that are not finite\)", message)


def test_face_model_auto_takes_what_is_there_and_says_so(features, tmp_path, capsys):
    make_features(tmp_path, clips={"train": 4, "val": 2}, modalities=("video",))
    for folder, model in ((tmp_path, "resnet3d"), (features, "attention_lstm")):
        task = build_task(options_of(folder, tmp_path, "face"))
        assert task.recipe.part("face").encoder == model
        assert f"--face_model auto: {model}" in capsys.readouterr().err


# -- targets --------------------------------------------------------------------------------------


@pytest.fixture
def shifted(tmp_path):
    """Features whose speech label is the class after the integrated one."""
    store = make_features(tmp_path / "features", clips={"train": 8, "val": 7})
    classes = store.read_description()["class_names"]
    for split in ("train", "val"):
        store.write_manifest(
            split,
            [
                record._replace(face=classes[(classes.index(record.integrated) + 1) % 7])
                for record in store.read_manifest(split)
            ],
        )
    return tmp_path / "features"


def test_a_single_mode_learns_its_own_label_and_is_scored_on_both(shifted, tmp_path):
    flags = {"learning_rate": 1e-2, "n_epoch": 6, "mixup_alpha": 0.0}
    folder = run_of(shifted, tmp_path / "logs", "face", **flags)
    result = json.loads((folder / "result.json").read_text())
    assert result["target"] == "face"
    assert result["valid"]["accuracy"] > 0.8
    assert result["valid"]["heads"]["on_integrated"]["accuracy"] == 0.0


def test_a_corpus_without_labels_of_its_own_learns_the_integrated_one(tmp_path):
    everyone = set(range(9))
    make_features(
        tmp_path / "features",
        clips={"train": 8, "val": 7},
        unlabelled={"face": everyone, "speech": everyone},
    )
    task = build_task(options_of(tmp_path / "features", tmp_path, "face"))
    assert task.targets == {"face": "integrated"}
    task = build_task(options_of(tmp_path / "features", tmp_path, "multimodal", lam=0.5))
    assert task.targets == dict.fromkeys(("integrated", "speech", "face"), "integrated")
    task = build_task(options_of(tmp_path / "features", tmp_path, "multimodal", lam=0.0))
    assert task.targets == {"integrated": "integrated"}


def test_clips_that_some_head_has_no_label_for_train_the_others(tmp_path):
    make_features(
        tmp_path / "features",
        clips={"train": 8, "val": 7},
        unlabelled={"face": {0, 1, 2, 3, 4}, "speech": {5, 6}},
        absent={"speech": {0}, "video": {1}, "embedding": {1}, "text": {2}},
    )
    folder = run_of(tmp_path / "features", tmp_path / "logs", "multimodal", n_epoch=1)
    result = json.loads((folder / "result.json").read_text())
    assert result["valid"]["heads"]["face"]["clips"] == 2
    assert result["valid"]["heads"]["speech"]["clips"] == 5
    assert result["valid"]["clips"] == 7
    assert result["valid"]["without"].keys() == {"speech", "face", "text"}
