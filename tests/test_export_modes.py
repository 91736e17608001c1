"""ONNX: every mode answers as torch does, at other lengths, and without torch."""

import json

import pytest

from emotion.corpora.qia2020 import EMOTIONS
from tests.exports import answers, assert_as_torch, example, exported
from tests.features import make_features
from tests.prediction import TEXT_DIM, answers_of, make_checkpoint
from tests.slim import slim


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("text", {}),
        ("face", {}),
        ("face", {"face_model": "resnet3d", "face_size": 32}),
        ("speech", {}),
        ("speech", {"speech_model": "efficientnet_small", "normalise": "speaker"}),
        ("multimodal", {"fusion": "aligned", "face_model": "resnet3d", "face_size": 32}),
        ("multimodal", {"fusion": "decoder"}),
        ("multimodal", {"fusion": "concat", "multitask": True}),
    ],
)
def test_every_mode_answers_as_torch_does(tmp_path, monkeypatch, capsys, mode, options):
    """Lengths from 20 to 180 frames, 1 to 6 words, none at all: not those it was exported with."""
    slim(monkeypatch, crops=mode != "face")  # once whole
    folder = tmp_path / "features"
    absent = {"speech": {1}, "video": {2}, "embedding": {2}, "text": {3}}
    if mode == "multimodal":
        absent = {name: clips | {4} for name, clips in absent.items()}  # one that has nothing
    shape = {"clips": {"test": 6}, "text_dim": TEXT_DIM, "frames": (20, 180), "speakers": 2}
    make_features(folder, absent=absent, **shape)
    weights = make_checkpoint(tmp_path, mode, **options)
    session = exported(weights, tmp_path)
    assert "largest difference from torch" in capsys.readouterr().out
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == list(EMOTIONS)
    assert json.loads(metadata["features"])["audio"]
    assert metadata["mode"] == mode
    done = example(tmp_path / "model.onnx", "--features", folder)
    flags = {"features_dir": str(folder), "split": "test", "probabilities": True}
    rows = answers_of(weights, tmp_path, **flags)
    assert_as_torch(answers(done), rows)
    assert len(done.stdout.splitlines()) == 5
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("warning: test00")
