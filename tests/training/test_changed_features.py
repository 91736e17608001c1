"""Going on with a run whose features are no longer those it was trained on."""

import json

import pytest
import torch

from emotion import distributed
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.training.run import train
from emotion.training.state import load_state
from tests.features import make_features
from tests.training.runs import metrics_of, options_of, refused, run_of, stopped


def reverse_class_names(store):
    description = store.read_description()
    description["class_names"].reverse()
    store.write_description({k: v for k, v in description.items() if k != "format"})


def change_settings(store):
    description = store.read_description()
    description["settings"]["text"] = "another encoder"
    store.write_description({k: v for k, v in description.items() if k != "format"})


def change_a_label(store):
    records = store.read_manifest("train")
    records[0] = records[0]._replace(integrated=records[1].integrated)
    store.write_manifest("train", records)


def lose_a_clip(store):
    store.write_manifest("val", store.read_manifest("val")[:-1])


def move_a_clip_to_another_speaker(store):
    records = store.read_manifest("train")
    store.write_manifest("train", [records[0]._replace(speaker="x"), *records[1:]])


CHANGES = {
    "class names": reverse_class_names,
    "settings of preprocessing": change_settings,
    "clips, labels or speakers": change_a_label,
    "clips, labels or speaker": lose_a_clip,
    "clips, labels or": move_a_clip_to_another_speaker,
}


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(("told", "change"), CHANGES.items())
def test_it_is_refused_in_a_line_that_says_what_changed(tmp_path, monkeypatch, told, change, done):
    folder, logs = tmp_path / "features", tmp_path / "logs"
    store = make_features(folder)
    if done:
        run = run_of(folder, logs, n_epoch=2)
    else:
        run = stopped(folder, logs, monkeypatch, step=5, n_epoch=2)
    before = (run / "last.pth").read_bytes()
    change(FeatureStore(store.root))
    message = refused(folder, logs, n_epoch=2, resume=True)
    assert f"the {told}" in message
    assert "--exp_name" in message
    assert f"remove {run} to start again" in message
    assert (run / "last.pth").read_bytes() == before


def test_more_or_fewer_processes_than_before_are_refused(features, tmp_path, monkeypatch):
    """They would take other batches and another schedule: the learning rate would rise again."""
    run = run_of(features, tmp_path, n_epoch=1)
    options = options_of(features, tmp_path, n_epoch=1, resume=True)
    assert load_state(run, options) is not None
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(UserError, match="was started with 1 processes, now there are 2"):
        load_state(run, options)


def test_a_finished_run_is_not_started_anew_where_its_state_was_deleted(features, tmp_path):
    run = run_of(features, tmp_path, n_epoch=1)
    (run / "last.pth").unlink()
    before = sorted(run.iterdir())
    assert "holds a run" in refused(features, tmp_path, n_epoch=1)
    assert sorted(run.iterdir()) == before


def test_a_run_that_starts_anew_has_no_refit_yet(features, tmp_path):
    run = run_of(features, tmp_path, n_epoch=1, refit=True)
    for name in ("last.pth", "result.json"):
        (run / name).unlink()
    before = (run / "refit" / "last.pth").stat().st_mtime_ns
    run_of(features, tmp_path, n_epoch=1, refit=True)
    assert (run / "refit" / "last.pth").stat().st_mtime_ns > before


def test_features_that_are_added_meanwhile_are_none_of_its_business(tmp_path, monkeypatch):
    store = make_features(tmp_path / "features")
    run = stopped(store.root, tmp_path / "logs", monkeypatch, step=5, n_epoch=2)
    description = store.read_description()
    description["settings"] |= {"face_stride": 3, "speech:whisper-base": {"source": "x"}}
    store.write_description({k: v for k, v in description.items() if k != "format"})
    assert train(options_of(store.root, tmp_path / "logs", n_epoch=2, resume=True)) == 0
    assert len(metrics_of(run)) == 2


# -- which epoch is the best ----------------------------------------------------------------------


def test_the_best_epoch_is_the_one_of_the_lowest_loss_on_validation(tmp_path):
    """Labels that are smoothed at random: loss and UA have their best in different epochs."""
    make_features(tmp_path / "features", clips={"train": 14, "val": 21}, noise=4.0)
    flags = {"n_epoch": 12, "learning_rate": 0.02, "warmup": 0.0, "mixup_alpha": 0.0}
    run = run_of(tmp_path / "features", tmp_path, **flags)
    loss, ua = (
        [float(row[name]) for row in metrics_of(run)] for name in ("valid_loss", "valid_ua")
    )
    best = json.loads((run / "result.json").read_text())["best_epoch"]
    assert best == loss.index(min(loss))
    assert best != ua.index(max(ua))


# -- parts of a batch ------------------------------------------------------------------------------


def test_a_resumed_run_takes_the_parts_of_before_unless_told(tmp_path, monkeypatch, capsys):
    make_features(tmp_path / "features", modalities=("speech",))
    flags = {"mode": "speech", "batch_size": 4, "n_epoch": 2}
    run = stopped(
        tmp_path / "features", tmp_path / "logs", monkeypatch, step=4, micro_batch="2", **flags
    )
    capsys.readouterr()
    options = options_of(
        tmp_path / "features", tmp_path / "logs", resume=True, micro_batch="1", **flags
    )
    train(options)
    assert "batch norms see 1 clips at a time from here on, 2 before" in capsys.readouterr().err
    assert torch.load(run / "last.pth", weights_only=True)["training"]["micro_batch"] == 1


def test_a_resumed_run_left_to_auto_keeps_its_parts(tmp_path, monkeypatch):
    make_features(tmp_path / "features", modalities=("speech",))
    flags = {"mode": "speech", "batch_size": 4, "n_epoch": 2}
    run = stopped(
        tmp_path / "features", tmp_path / "logs", monkeypatch, step=4, micro_batch="2", **flags
    )
    train(options_of(tmp_path / "features", tmp_path / "logs", resume=True, **flags))
    assert torch.load(run / "last.pth", weights_only=True)["training"]["micro_batch"] == 2
