"""ONNX: the same answers as torch, at other lengths, and without torch."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from emotion.corpora.qia2020 import EMOTIONS
from emotion.data.dataset import collate
from emotion.errors import UserError
from emotion.paths import HOME
from emotion.prediction.inputs import find_items
from emotion.prediction.members import load_members
from emotion.prediction.predictor import Ensemble
from emotion.prediction.run import predict
from tests.features import make_features
from tests.media import noise, tone, write_clip
from tests.prediction import PLAIN, TEXT_DIM, answers_of, make_checkpoint, options_of, slim

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def exported(weights, folder):
    """The session of an exported model."""
    path = folder / "model.onnx"
    assert predict(options_of(weights, folder, export=str(path))) == 0
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def session_answers(session, weights, items_folder, split="test"):
    """onnxruntime's answers to the clips of a split, one at a time, from what torch reads."""
    members = load_members([str(weights)], torch.device("cpu"))
    items = find_items([], split, str(items_folder), members)
    reader = Ensemble(members, torch.device("cpu")).reader(items)
    names = [one.name for one in session.get_inputs()]
    answers = {}
    for number, item in enumerate(items):
        (views,) = reader[number].samples
        if views:
            every = feed(views[0])
            fed = {name: every[name] for name in names}
            answers[item.clip.id] = session.run(None, fed)[0][0]
    return answers


def feed(sample):
    """One clip's inputs by name, with a batch axis."""
    batch = collate([sample]).inputs
    fed = {"clock_mask": batch.clock.mask, "clock_time": batch.clock.time}
    for name, stream in batch.streams.items():
        fed |= {name: stream.values, f"{name}_mask": stream.mask, f"{name}_time": stream.time}
    return {name: value.numpy() for name, value in fed.items()}


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("text", {}),
        ("face", {}),
        ("speech", {}),
        ("speech", {"speech_model": "efficientnet_small"}),
        ("multimodal", {"fusion": "aligned"}),
        ("multimodal", {"fusion": "decoder"}),
        ("multimodal", {"fusion": "concat", "multitask": True}),
    ],
)
def test_every_mode_answers_as_torch_does(tmp_path, monkeypatch, capsys, mode, options):
    """Lengths from 20 to 180 frames, 1 to 6 words, none at all: not those it was exported with."""
    slim(monkeypatch)
    absent = {"speech": {1}, "embedding": {2}, "text": {3}}
    make_features(
        tmp_path / "features", clips={"test": 6}, text_dim=TEXT_DIM, absent=absent, frames=(20, 180)
    )
    weights = make_checkpoint(tmp_path, mode, **options)
    session = exported(weights, tmp_path)
    assert "largest difference from torch" in capsys.readouterr().out
    rows = answers_of(
        weights, tmp_path, features_dir=str(tmp_path / "features"), split="test", probabilities=True
    )
    found = session_answers(session, weights, tmp_path / "features")
    assert len(found) == (6 if mode == "multimodal" else 5)
    for row in rows:
        if row["Emotion"]:
            wanted = [float(row[name]) for name in EMOTIONS]
            np.testing.assert_allclose(found[row["FileID"]], wanted, atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == list(EMOTIONS)
    assert json.loads(metadata["features"])["audio"]
    assert metadata["mode"] == mode


def test_the_example_needs_no_torch(tmp_path):
    """The real EfficientNet-B0, in a process in which torch cannot be imported."""
    weights = make_checkpoint(tmp_path, "speech", features=PLAIN)
    exported(weights, tmp_path)
    clips = [tmp_path / "one.wav", tmp_path / "two.wav"]
    write_clip(clips[0], None, np.concatenate([tone(0.7, 250), noise(0.4)]))
    write_clip(clips[1], None, noise(2.3, seed=1))
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "torch.py").write_text("raise ImportError('no torch here')")
    done = subprocess.run(
        [
            sys.executable,
            "examples/onnx_predict.py",
            str(tmp_path / "model.onnx"),
            *map(str, clips),
        ],
        cwd=HOME,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "hidden")},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = answers_of(weights, tmp_path, input=[str(c) for c in clips], probabilities=True)
    for line, row in zip(done.stdout.splitlines(), rows, strict=True):
        name, emotion, probability = line.split()
        assert (name, emotion) == (row["FileID"], row["Emotion"])
        assert float(probability) == pytest.approx(float(row[emotion]), abs=2e-4)


def test_an_ensemble_is_not_one_file(tmp_path):
    weights = [make_checkpoint(tmp_path, "text", seed=seed) for seed in (0, 1)]
    with pytest.raises(UserError, match="--export writes one model"):
        predict(options_of(weights, tmp_path, export=str(tmp_path / "model.onnx")))


def test_the_example_refuses_a_model_that_says_nothing_of_itself(tmp_path):
    weights = make_checkpoint(tmp_path, "text")
    predict(options_of(weights, tmp_path, export=str(tmp_path / "model.onnx")))
    bare = onnx.load(tmp_path / "model.onnx")
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    command = [sys.executable, "examples/onnx_predict.py", str(tmp_path / "bare.onnx"), "x.wav"]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("bare.onnx: is no speech model of predict.py --export\n")
    assert done.stderr.count("\n") == 1
