"""Whole runs through ``train``, tiny ones: what they leave behind, what they refuse, going on."""

import contextlib
import csv
import dataclasses
import io
import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from src.command_line import run as run_script
from src.data.dataset import collate
from src.errors import UserError
from src.feature_store import FeatureStore
from src.locking import only_run_in
from src.paths import HOME
from src.training import logbook, loop
from src.training.checkpoint import BEST, best_checkpoint, load_checkpoint
from src.training.ensemble import read_answers
from src.training.options import TrainOptions
from src.training.run import train
from src.training.setup import Loaders, build_initial_model, build_task, loader_workers
from src.training.sweep import members
from src.training.table import table
from tests.features import make_features

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


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """8 clips for training, 7 for validation, in every modality."""
    folder = tmp_path_factory.mktemp("features")
    make_features(folder, clips={"train": 8, "val": 7}, frames=(20, 60))
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """For the slow models: 4 clips for training, 3 for validation."""
    folder = tmp_path_factory.mktemp("few")
    make_features(folder, clips={"train": 4, "val": 3}, frames=(20, 32))
    return folder


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """One thread, and no pictures but in runs that a module's fixture makes."""
    before = torch.get_num_threads()
    for name in ("draw_curves", "draw_confusion"):
        monkeypatch.setattr(logbook, name, lambda *_: None)
    yield
    torch.set_num_threads(before)


def options_of(features, logs, mode="text", **flags):
    settings = {
        "exp_name": "run",
        "n_epoch": 3,
        "batch_size": 4,
        "num_workers": 0,
        "pretrained": "false",
        "threads": 1,
        "hidden": 16,
        **flags,
    }
    return TrainOptions(mode=mode, features_dir=str(features), logs_dir=str(logs), **settings)


def run_of(features, logs, mode="text", **flags):
    """Train; the run folder."""
    options = options_of(features, logs, mode, **flags)
    assert train(options) == 0
    return logs / mode / options.exp_name


def refused(features, logs, mode="text", **flags):
    """The one line that a user gets."""
    with pytest.raises(UserError) as caught:
        train(options_of(features, logs, mode, **flags))
    message = str(caught.value)
    assert "\n" not in message
    return message


def metrics_of(folder):
    """Rows of metrics.csv without the timing columns."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in rows]


def weights_of(path):
    return torch.load(path, weights_only=True)["model"]


def same(first, second):
    """Whether two nests of dicts, lists, tensors and numbers are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def assert_same_runs(first, second):
    """Scores, names of the checkpoints, weights, averaged weights, optimizer, bit for bit."""
    assert metrics_of(first) == metrics_of(second)
    assert names(first) == names(second)
    for name in names(first):
        assert same(weights_of(first / name), weights_of(second / name)), name
    states = [torch.load(f / "last.pth", weights_only=True)["training"] for f in (first, second)]
    for part in ("optimizer", "schedule", "ema", "best_loss"):
        assert same(states[0][part], states[1][part]), part


def written(folder):
    """When each file of a run was written, but for the lock."""
    return {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}


def names(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


class Stop:
    """Ctrl-C in the middle of an epoch: at the given step of a run."""

    def __init__(self, monkeypatch, step):
        self.step, self.calls, self.update = step, 0, loop.update_weights
        monkeypatch.setattr(loop, "update_weights", self)

    def __call__(self, engine):
        self.calls += 1
        if self.calls == self.step:
            raise KeyboardInterrupt
        self.update(engine)


# -- what a run leaves behind ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(features, tmp_path_factory):
    """A finished text run of four epochs, and what it printed."""
    logs = tmp_path_factory.mktemp("logs")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        folder = run_of(features, logs, n_epoch=4, learning_rate=1e-2, keep=2)
    return folder, printed.getvalue().splitlines()


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
    assert config["resolved"]["features"]["denoise"] == "none"
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
    assert len(written) > 2
    assert names(folder) == sorted([*written[-2:], "last.pth"])


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


# -- a run of the same name -----------------------------------------------------------------------


def test_an_existing_run_is_refused_and_left_alone(finished, features):
    folder, _ = finished
    before = written(folder)
    message = refused(features, folder.parents[1])
    assert "--resume True" in message
    assert "--overwrite True" in message
    assert before == written(folder)


def test_overwrite_replaces_a_run(features, tmp_path):
    folder = run_of(features, tmp_path, n_epoch=3)
    run_of(features, tmp_path, n_epoch=1, overwrite=True)
    assert len(metrics_of(folder)) == 1
    assert len(names(folder)) == 2
    assert len(list(folder.glob("events.*"))) == 1


def test_resume_of_a_finished_run_does_nothing(finished, features, capsys):
    folder, _ = finished
    before = written(folder)
    options = options_of(
        features, folder.parents[1], n_epoch=4, learning_rate=1e-2, keep=2, resume=True
    )
    assert train(options) == 0
    assert before == written(folder)
    assert capsys.readouterr().out.count("\n") == 1


def test_resume_where_there_is_no_run_starts_one(features, tmp_path):
    assert len(metrics_of(run_of(features, tmp_path, n_epoch=1, resume=True))) == 1


def test_resume_with_other_flags_is_refused_but_for_harmless_ones(features, tmp_path, monkeypatch):
    stopped(features, tmp_path, monkeypatch, step=3)
    message = refused(features, tmp_path, resume=True, learning_rate=1.0)
    assert "--learning_rate 0.004" in message
    assert len(metrics_of(run_of(features, tmp_path, resume=True, keep=1))) == 3


def stopped(features, logs, monkeypatch, step, mode="text", **flags):
    with monkeypatch.context() as patch:
        Stop(patch, step)
        with pytest.raises(KeyboardInterrupt):
            train(options_of(features, logs, mode, **flags))
    return logs / mode / "run"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", "/abs"])
def test_names_that_lead_elsewhere_are_refused(features, tmp_path, name):
    assert "--exp_name" in refused(features, tmp_path, exp_name=name)
    assert not any(tmp_path.iterdir())


# -- going on after a kill ------------------------------------------------------------------------

RESUMED = {
    "speech": {"mode": "speech", "batch_size": 2},
    "face": {"mode": "face"},
    "text": {"mode": "text"},
    "multimodal": {"mode": "multimodal", "batch_size": 2, "modality_dropout": 0.3},
    "averaged": {"mode": "text", "batch_size": 2, "accumulate": 2, "ema": 0.7, "optim": "sgd"},
}


@pytest.fixture(scope="module")
def straight(features, few, tmp_path_factory):
    """Uninterrupted runs without workers and their features, one a mode, when first asked for."""
    runs = {}

    def made(name):
        folder = few if name in ("speech", "multimodal") else features
        if name not in runs:
            runs[name] = run_of(folder, tmp_path_factory.mktemp("straight"), **RESUMED[name])
        return runs[name], folder

    return made


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", RESUMED)
def test_resume_equals_the_uninterrupted_run(tmp_path, monkeypatch, straight, name, workers):
    whole, folder = straight(name)
    flags = {**RESUMED[name], "num_workers": workers}
    halved = stopped(folder, tmp_path, monkeypatch, step=4, **flags)  # the second of epoch 1
    assert len(metrics_of(halved)) == 1
    run_of(folder, tmp_path, resume=True, **flags)
    assert_same_runs(halved, whole)


KILLED = """
import json, os, signal, sys
from src.training import loop
from src.training.options import TrainOptions
from src.training.run import train
update, calls = loop.update_weights, []
def update_or_die(engine):
    calls.append(1)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    update(engine)
loop.update_weights = update_or_die
train(TrainOptions(**json.loads(sys.argv[1])))
"""


def test_six_epochs_with_a_kill_in_the_fourth_equal_six_straight(features, tmp_path):
    options = options_of(features, tmp_path / "killed", n_epoch=6)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(dataclasses.asdict(options))],
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.endswith("\n")
    assert killed.stdout.count("Epoch [") == 3
    folder = run_of(features, tmp_path / "killed", n_epoch=6, resume=True)
    assert_same_runs(folder, run_of(features, tmp_path / "straight", n_epoch=6))


def test_a_kill_before_the_last_row_was_written_loses_no_row(features, tmp_path):
    folder = run_of(features, tmp_path)
    whole = metrics_of(folder)
    (folder / "result.json").unlink()
    rows = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(rows[:-1]))
    run_of(features, tmp_path, resume=True)
    assert metrics_of(folder) == whole
    assert (folder / "result.json").is_file()


def test_ctrl_c_in_epoch_0_ends_in_one_line_with_last_pth(features, tmp_path, monkeypatch, capsys):
    handler = signal.getsignal(signal.SIGTERM)
    Stop(monkeypatch, 1)
    try:
        with pytest.raises(SystemExit) as ended:
            run_script(lambda: train(options_of(features, tmp_path)))
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip().splitlines()[-1] == "stopped."
    folder = tmp_path / "text" / "run"
    assert load_checkpoint(folder / "last.pth").training["history"] == []
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize("kind", ["garbage", "object", "best"])
def test_a_last_pth_that_cannot_go_on_is_refused(features, tmp_path, kind):
    folder = run_of(features, tmp_path, n_epoch=1)
    (folder / "result.json").unlink()
    if kind == "garbage":
        (folder / "last.pth").write_bytes(b"nothing of the sort")
    elif kind == "object":  # would run code if it were unpickled
        torch.save({"options": options_of(features, tmp_path)}, folder / "last.pth")
    else:
        shutil.copy(best_checkpoint(folder), folder / "last.pth")
    assert "last.pth" in refused(features, tmp_path, n_epoch=1, resume=True)


# -- flags of the engine --------------------------------------------------------------------------


def test_patience_stops_a_run_that_does_not_improve(features, tmp_path):
    folder = run_of(features, tmp_path, n_epoch=9, learning_rate=0.0, patience=2)
    assert len(metrics_of(folder)) == 3
    assert (folder / "result.json").is_file()


@pytest.mark.parametrize("mode", ["text", "face"])
def test_half_precision_trains_on_a_cpu(features, tmp_path, mode):
    plain = run_of(features, tmp_path / "plain", mode, learning_rate=1e-2)
    half = run_of(features, tmp_path / "half", mode, learning_rate=1e-2, amp=True)
    assert json.loads((half / "config.json").read_text())["resolved"]["amp"] == "torch.bfloat16"
    for a, b in zip(metrics_of(plain), metrics_of(half), strict=True):
        assert float(a["valid_loss"]) == pytest.approx(float(b["valid_loss"]), abs=0.1)


def test_a_batch_that_does_not_fit_is_split_with_a_note(features, tmp_path, capsys):
    run_of(features, tmp_path, n_epoch=1, micro_batch="3")
    assert "3 at a time (--micro_batch)" in capsys.readouterr().err


def test_more_workers_than_cores_are_noted_and_not_started(monkeypatch, capsys):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert loader_workers(16) == 2
    assert "--num_workers 16: 2 are started" in capsys.readouterr().err
    assert loader_workers(1) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert loader_workers(16) == 1


def test_sixteen_workers_train_on_a_small_machine(features, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    run_of(features, tmp_path, n_epoch=1, num_workers=16)
    assert "--num_workers 16" in capsys.readouterr().err


def test_features_that_are_not_finite_are_one_line_that_names_the_file(tmp_path):
    store = make_features(tmp_path / "features", clips={"train": 8, "val": 7})
    words = np.full((3, 12), np.nan, np.float32)
    store.write_text("train", "train003", words)
    message = refused(tmp_path / "features", tmp_path / "logs", mixup_prob=0.0)
    assert re.search(r"text/train003.npz: damaged \(it holds values that are not finite\)", message)


def test_face_model_auto_takes_what_is_there_and_says_so(features, tmp_path, capsys):
    make_features(tmp_path, clips={"train": 4, "val": 2}, modalities=("video",))
    for folder, model in ((tmp_path, "resnet3d"), (features, "attention_lstm")):
        task = build_task(options_of(folder, tmp_path, "face"))
        assert task.model_options.face_model == model
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


@pytest.mark.parametrize("target", ["own", "integrated"])
def test_a_single_mode_learns_its_target_and_is_scored_on_both(shifted, tmp_path, target):
    flags = {"target": target, "learning_rate": 1e-2, "n_epoch": 6, "mixup_alpha": 0.0}
    folder = run_of(shifted, tmp_path / "logs", "face", **flags)
    result = json.loads((folder / "result.json").read_text())
    assert result["target"] == {"own": "face", "integrated": "integrated"}[target]
    assert result["valid"]["accuracy"] > 0.8
    integrated = result["valid"]["heads"]["on_integrated"]["accuracy"]
    assert integrated == (0.0 if target == "own" else result["valid"]["accuracy"])


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


# -- folds ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """24 clips of four speakers and three classes, without official splits."""
    folder = tmp_path_factory.mktemp("folded")
    make_features(folder, clips={"all": 24}, n_classes=3, speakers=4)
    return folder


def test_a_run_on_folds_is_speaker_disjoint_and_scored_on_test(folded, tmp_path, capsys):
    folder = run_of(folded, tmp_path, n_epoch=2, n_folds=4, fold=4)
    result = json.loads((folder / "result.json").read_text())
    assert result["test"]["clips"] == result["valid"]["clips"] == 6
    speakers = json.loads((folder / "config.json").read_text())["resolved"]["speakers"]
    assert sum(len(part) for part in speakers.values()) == 4
    assert len(set().union(*speakers.values())) == 4
    done = capsys.readouterr().out.splitlines()[-1]
    assert f"test_ua: {result['test']['unweighted_average_recall']:.4f}" in done


def test_folds_of_a_file_are_taken_as_they_are(folded, tmp_path):
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({"folds": [["03"], ["00"], ["01", "02"]]}))
    options = options_of(folded, tmp_path, n_folds=3, fold=1, folds_file=str(path))
    parts = build_task(options).parts
    found = [{e.record.speaker for e in part} for part in parts]
    assert found == [{"01", "02"}, {"00"}, {"03"}]  # train, val (the next fold), test


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ({}, "--n_folds"),
        ({"n_folds": 2}, "--n_folds"),
        ({"n_folds": 4, "fold": 5}, "--fold"),
        ({"n_folds": 9}, "speaker"),
        ({"n_folds": 3, "folds_file": "/nowhere.json"}, "--folds_file /nowhere.json"),
    ],
)
def test_folds_that_do_not_fit_are_refused(folded, tmp_path, flags, part):
    assert part in refused(folded, tmp_path, **flags)


def test_a_fold_without_some_class_is_refused(tmp_path):
    make_features(tmp_path / "features", clips={"all": 12}, n_classes=3, speakers=3)
    message = refused(tmp_path / "features", tmp_path / "logs", n_folds=3)
    assert "has no clip of class" in message


def test_folds_are_refused_where_there_are_official_splits(features, tmp_path):
    assert "leave out --n_folds" in refused(features, tmp_path, n_folds=3)


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


# -- encoders from other runs ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def singles(few, tmp_path_factory):
    """Logs with a speech, a face and a text run of one epoch."""
    logs = tmp_path_factory.mktemp("singles")
    for mode in ("speech", "face", "text"):
        run_of(few, logs, mode, n_epoch=1)
    return logs


def load_flags(singles, **changes):
    given = {f"{mode}_load_weights": str(singles / mode / "run") for mode in ("face", "text")}
    given["speech_load_weights"] = str(best_checkpoint(singles / "speech" / "run"))
    return {"n_epoch": 1, **given, **changes}


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_a_frozen_backbone_keeps_weights_and_batch_norms_bit_for_bit(few, singles, tmp_path, lam):
    flags = load_flags(singles, freeze_backbone=True, lam=lam, ema=0.5)
    folder = run_of(few, tmp_path, "multimodal", **flags)
    for path in (folder / "last.pth", best_checkpoint(folder)):
        fused = weights_of(path)
        for modality in ("speech", "face", "text"):
            single = weights_of(best_checkpoint(singles / modality / "run"))
            kept = {k: v for k, v in single.items() if k.startswith("encoder.")}
            assert kept
            for name, value in kept.items():
                found = fused[name.replace("encoder.", f"encoders.{modality}.", 1)]
                assert torch.equal(found, value), name


def test_loaded_encoders_train_on_where_they_are_not_frozen(few, singles, tmp_path):
    folder = run_of(few, tmp_path, "multimodal", **load_flags(singles), learning_rate=1e-4)
    name = "encoder.lstm.forward_lstm.weight_hh_l0"
    single = weights_of(best_checkpoint(singles / "text" / "run"))
    name = next(key for key in single if key.endswith("weight_hh_l0"))
    fused = weights_of(folder / "last.pth")[name.replace("encoder.", "encoders.text.", 1)]
    assert not torch.equal(fused, single[name])
    torch.testing.assert_close(fused, single[name], rtol=0, atol=1e-3)


def test_a_missing_path_names_the_checkpoints_there_are(features, singles):
    message = refused(features, singles, "multimodal", speech_load_weights="./logs/speech/no.pth")
    assert "./logs/speech/no.pth: no such checkpoint" in message
    assert str(best_checkpoint(singles / "speech" / "run")) in message
    assert str(singles / "face") not in message


def test_where_there_is_no_run_at_all_training_one_is_the_mend(features, tmp_path):
    message = refused(features, tmp_path, "multimodal", face_load_weights="nothing")
    assert "train.py --mode face" in message


def changed_checkpoint(singles, tmp_path, change):
    """The speech checkpoint with something else in it."""
    content = torch.load(best_checkpoint(singles / "speech" / "run"), weights_only=True)
    change(content)
    path = tmp_path / "0_best_1.0000.pth"
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda c: c["class_names"].__setitem__(0, "joy"), "knows the classes joy ang"),
        (lambda c: c["model_options"].update(coeff=4), "has --coeff 4, this run 0"),
        (lambda c: c["features"].update(denoise="wiener"), "features of denoise wiener"),
        (lambda c: c["features"].update(face_stride=4), "features of face_stride 4"),
        (lambda c: c.update(format=7), "of format 7"),
        (lambda c: c.pop("class_names"), "not a checkpoint of this program"),
    ],
    ids=["classes", "coeff", "denoise", "stride", "format", "foreign"],
)
def test_weights_that_do_not_fit_are_refused_with_what_they_are(
    features, singles, tmp_path, change, part
):
    path = changed_checkpoint(singles, tmp_path, change)
    message = refused(features, tmp_path, "multimodal", speech_load_weights=path)
    assert part in message
    assert path in message


def test_another_face_network_matters_to_the_face_alone(few, singles, tmp_path):
    def change(content):
        content["features"]["vggface"] = "other"

    path = changed_checkpoint(singles, tmp_path, change)
    run_of(few, tmp_path, "multimodal", n_epoch=1, speech_load_weights=path)


def test_a_checkpoint_of_another_mode_is_refused(features, singles, tmp_path):
    path = str(singles / "face" / "run")
    message = refused(features, tmp_path, "multimodal", speech_load_weights=path)
    assert "is a face model; give a speech one" in message


@pytest.mark.parametrize("flag", ["speech_load_weights", "text_load_weights"])
def test_weights_flags_go_with_the_fused_model(features, singles, tmp_path, flag):
    assert "--mode multimodal" in refused(features, tmp_path, **{flag: str(singles)})


def test_a_single_mode_has_no_backbone_to_freeze(features, tmp_path):
    assert "--freeze_backbone" in refused(features, tmp_path, freeze_backbone=True)


def test_nothing_of_a_run_is_half_written(finished):
    assert not list(finished[0].rglob("*.partial"))
    assert FeatureStore(finished[0]).splits() == []


def test_speech_frames_fit_the_clips_or_come_from_the_weights_that_are_loaded(
    features, few, singles, tmp_path
):
    frames = [int(row["frames"]) for row in manifest_rows(features, "train")]
    fitted = build_task(options_of(features, tmp_path, "speech")).model_options.speech_frames
    assert fitted % 32 == 0
    assert fitted - 32 < np.percentile(frames, 95) <= fitted
    given = build_task(options_of(features, tmp_path, "speech", speech_frames=70))
    assert given.model_options.speech_frames == given.inputs.speech_frames == 96
    loaded = load_checkpoint(best_checkpoint(singles / "speech" / "run")).options.speech_frames
    assert loaded != fitted
    weights = {"speech_load_weights": str(singles / "speech" / "run")}
    fused = build_task(options_of(features, tmp_path, "multimodal", **weights))
    assert fused.model_options.speech_frames == loaded


def manifest_rows(features, split):
    with (features / split / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# -- compiled steps -------------------------------------------------------------------------------


def test_compiled_steps_train_the_model_that_is_stored(features, tmp_path, monkeypatch):
    real, given = torch.compile, []
    # without a C++ compiler's minute: the same capture of the graph, run by torch itself
    monkeypatch.setattr(
        torch, "compile", lambda model: given.append(model) or real(model, backend="eager")
    )
    plain = run_of(features, tmp_path / "plain", n_epoch=2)
    run = run_of(features, tmp_path / "compiled", n_epoch=2, compile=True)
    assert len(given) == 1
    compare = [load_checkpoint(folder / "last.pth").model for folder in (plain, run)]
    assert compare[0].keys() == compare[1].keys()
    for name, wanted in compare[0].items():
        torch.testing.assert_close(compare[1][name], wanted, atol=1e-4, rtol=1e-3)


def test_compiling_without_a_compiler_is_the_users_to_mend(features, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "install g++" in refused(features, tmp_path, compile=True)


# -- several folds or seeds -----------------------------------------------------------------------


def test_all_folds_are_run_one_after_another_and_summed_up(folded, tmp_path, capsys):
    folder = run_of(folded, tmp_path, n_epoch=1, n_folds=4, fold=0)
    runs = [f"fold_{number}" for number in (1, 2, 3, 4)]
    results = [json.loads((folder / run / "result.json").read_text()) for run in runs]
    scores = [result["test"]["unweighted_average_recall"] for result in results]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["runs"] == runs
    pooled = summary["test"]["unweighted_average_recall"]
    assert pooled["values"] == scores
    assert pooled["mean"] == pytest.approx(np.mean(scores))
    assert pooled["std"] == pytest.approx(np.std(scores, ddof=1))
    assert f"test_ua: {pooled['mean']:.4f} +- {pooled['std']:.4f}" in capsys.readouterr().out
    assert "speech" not in table(tmp_path)
    assert f"text/run (4 runs)  {results[0]['parameters']:,}" in table(tmp_path)
    folds = [json.loads((folder / run / "folds.json").read_text())["folds"] for run in runs]
    assert sorted(folds[0]) == [["00"], ["01"], ["02"], ["03"]]
    assert folds == 4 * [folds[0]]


def test_runs_of_one_fold_with_different_validating_folds_answer_together(folded, tmp_path, capsys):
    folder = run_of(folded, tmp_path, n_epoch=1, n_folds=4, fold=0, valid_folds=[1, 3])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["runs"] == [f"fold_{f}_valid_fold_{v}" for f in (1, 2, 3, 4) for v in (1, 3)]
    fold_2 = [folder / f"fold_2_valid_fold_{number}" for number in (1, 3)]
    speakers = [json.loads((run / "config.json").read_text())["resolved"] for run in fold_2]
    folds = json.loads((fold_2[0] / "folds.json").read_text())["folds"]
    assert [one["speakers"]["val"] for one in speakers] == [folds[2], folds[0]]
    assert [one["speakers"]["test"] for one in speakers] == 2 * [folds[1]]
    both = [read_answers(run / "predictions_test.csv", "integrated") for run in fold_2]
    shares = (both[0].probabilities + both[1].probabilities) / 2
    names = np.array(both[0].class_names)
    right = names[shares.argmax(axis=1)] == np.array(both[0].labels)
    found = summary["ensemble"]["test"]["accuracy"]
    assert found["values"][1] == pytest.approx(right.mean())
    assert "valid" not in summary["ensemble"]  # every run has other clips there
    assert f"ensemble_test_acc: {found['mean']:.4f}" in capsys.readouterr().out


def test_a_fold_can_not_validate_itself(folded, tmp_path):
    message = refused(folded, tmp_path, n_folds=4, fold=1, valid_fold=4)
    assert "--valid_fold 4: of 4 folds one is tested; give 1 to 3" in message


def test_validating_folds_are_checked_before_the_first_run(folded, tmp_path):
    message = refused(folded, tmp_path, n_folds=4, fold=1, valid_folds=[1, 4])
    assert "--valid_folds 4: all but one of --n_folds 4 can validate" in message
    assert not list(tmp_path.iterdir())  # no run has begun
    assert "--n_folds 0 can validate" in refused(folded, tmp_path, valid_folds=[1])


def test_processes_share_the_runs_of_one_experiment(features, tmp_path, capsys):
    flags = {"n_epoch": 1, "seeds": [3, 5], "resume": True}
    folder = tmp_path / "text" / "run"
    with only_run_in(folder / "seed_3"):  # as another process would
        run_of(features, tmp_path, **flags)
    said = capsys.readouterr()
    assert "note: left to another process" in said.err
    assert "the last one sums up" in said.out
    assert (folder / "seed_5" / "result.json").is_file()
    assert not (folder / "seed_3" / "result.json").exists()
    assert not (folder / "summary.json").exists()
    run_of(features, tmp_path, **flags)
    assert json.loads((folder / "summary.json").read_text())["runs"] == ["seed_3", "seed_5"]


def test_seeds_are_runs_that_go_on_where_they_were_left(features, tmp_path, capsys):
    flags = {"n_epoch": 1, "seeds": [3, 5], "resume": True}
    folder = run_of(features, tmp_path, **flags)
    first, second = (folder / name / "result.json" for name in ("seed_3", "seed_5"))
    alone = run_of(features, tmp_path / "alone", n_epoch=1, seed=5) / "result.json"
    scores = [json.loads(path.read_text())["valid"] for path in (second, alone)]
    assert scores[0] == scores[1]
    second.unlink()
    written = first.stat().st_mtime_ns
    run_of(features, tmp_path, **flags)
    assert second.is_file()
    assert first.stat().st_mtime_ns == written
    assert "done before" in capsys.readouterr().out


def test_a_fused_run_of_all_folds_takes_the_encoder_of_its_own_fold(folded, tmp_path):
    settings = {"n_epoch": 1, "n_folds": 4}
    single = run_of(folded, tmp_path, "text", fold=0, **settings)
    fused = run_of(
        folded, tmp_path, "multimodal", fold=2, text_load_weights=str(single / "fold_2"), **settings
    )
    assert (fused / "result.json").is_file()
    message = refused(
        folded,
        tmp_path / "other",
        "multimodal",
        fold=3,
        text_load_weights=str(single / "fold_2"),
        **settings,
    )
    assert "whom this run validates or tests on" in message
    sweep = options_of(
        folded, tmp_path, "multimodal", fold=0, text_load_weights=str(single), **settings
    )
    for number, member in enumerate(members(sweep), 1):
        task = build_task(member)
        encoder = build_initial_model(member, task).encoders["text"].state_dict()
        own = load_checkpoint(best_checkpoint(single / f"fold_{number}")).model
        assert all(torch.equal(own[f"encoder.{name}"], value) for name, value in encoder.items())
    varied = {"seeds": [7, 8], "valid_folds": [1], "text_load_weights": str(single), **settings}
    run = members(options_of(folded, tmp_path, "multimodal", fold=4, **varied))[-1]
    assert run.exp_name.endswith("/valid_fold_1_seed_8")  # no folder of the experiment's
    encoder = build_initial_model(run, build_task(run)).encoders["text"].state_dict()
    assert all(torch.equal(own[f"encoder.{name}"], value) for name, value in encoder.items())


def test_an_experiment_without_a_run_like_this_one_names_its_runs(folded, tmp_path):
    settings = {"n_epoch": 1, "n_folds": 4}
    single = run_of(folded, tmp_path, "text", fold=0, **settings)
    flags = {"text_load_weights": str(single), "seeds": [1]} | settings
    fused = run_of(folded, tmp_path, "multimodal", fold=3, **flags)
    assert (fused / "summary.json").is_file()
    (single / "fold_3").rename(single / "away")
    message = refused(folded, tmp_path / "other", "multimodal", fold=3, **flags)
    assert "holds the runs away, fold_1, fold_2, fold_4; name one" in message


def test_all_folds_of_none_are_refused(features, tmp_path):
    assert "give --n_folds" in refused(features, tmp_path, fold=0)


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
