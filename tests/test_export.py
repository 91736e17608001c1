"""ONNX: the same answers as torch, at other lengths, and without torch."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from emotion.corpora.qia2020 import EMOTIONS
from emotion.errors import UserError
from emotion.paths import HOME
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


def without_torch(folder, *given):
    """Python in a process in which torch cannot be imported."""
    hidden = folder / "hidden"
    hidden.mkdir(exist_ok=True)
    (hidden / "torch.py").write_text("raise ImportError('no torch here')")
    return subprocess.run(
        [sys.executable, *map(str, given)],
        cwd=HOME,
        env={**os.environ, "PYTHONPATH": f"{hidden}{os.pathsep}src"},
        capture_output=True,
        text=True,
    )


def example(folder, *given):
    """``examples/onnx_predict.py`` there."""
    return without_torch(folder, "examples/onnx_predict.py", *given)


def answers(done):
    """FileID -> emotion and probability."""
    assert done.returncode == 0, done.stderr
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: (emotion, float(probability)) for name, emotion, probability in lines}


def refused(done):
    """The one line of an example that refused."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    return done.stderr


def assert_as_torch(found, rows):
    """The example's answers are those of predict.py, and it has none where predict.py has none."""
    assert list(found) == [row["FileID"] for row in rows if row["Emotion"]]
    for row in rows:
        if row["Emotion"]:
            emotion, probability = found[row["FileID"]]
            assert emotion == row["Emotion"]
            assert probability == pytest.approx(float(row[emotion]), abs=1e-3)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("text", {}),
        ("face", {}),
        ("face", {"face_model": "resnet3d", "face_size": 32}),
        ("speech", {}),
        ("speech", {"speech_model": "efficientnet_small", "normalise": "speaker"}),
        ("multimodal", {"fusion": "aligned"}),
        ("multimodal", {"fusion": "aligned", "face_model": "resnet3d", "face_size": 32}),
        ("multimodal", {"fusion": "decoder"}),
        ("multimodal", {"fusion": "concat", "multitask": True}),
    ],
)
def test_every_mode_answers_as_torch_does(tmp_path, monkeypatch, capsys, mode, options):
    """Lengths from 20 to 180 frames, 1 to 6 words, none at all: not those it was exported with."""
    slim(monkeypatch)
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
    done = example(tmp_path, tmp_path / "model.onnx", "--features", folder)
    flags = {"features_dir": str(folder), "split": "test", "probabilities": True}
    rows = answers_of(weights, tmp_path, **flags)
    assert_as_torch(answers(done), rows)
    assert len(done.stdout.splitlines()) == 5
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("warning: test00")


def test_all_stored_features_are_read_without_torch(tmp_path):
    read = (
        "from emotion import registry\n"
        "for name in registry.FEATURES:\n"
        "    module = registry.load('FEATURES', name)\n"
        "    feature = registry.feature(name + 'some' * name.endswith(registry.FAMILY))\n"
        "    feature.reader(registry.options_class(module)(), (3,))\n"
    )
    done = without_torch(tmp_path, "-c", read)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_sound_file_needs_no_torch(tmp_path):
    """The real EfficientNet-B0."""
    weights = make_checkpoint(tmp_path, "speech", features=PLAIN)
    exported(weights, tmp_path)
    clips = [tmp_path / f"{name}.wav" for name in ("one", "two", "quiet", "broken")]
    write_clip(clips[0], None, np.concatenate([tone(0.7, 250), noise(0.4)]))
    write_clip(clips[1], None, noise(2.3, seed=1))
    write_clip(clips[2], None, np.zeros(16000, np.float32))
    clips[3].write_bytes(b"RIFF of something else")
    done = example(tmp_path, tmp_path / "model.onnx", *clips)
    rows = answers_of(weights, tmp_path, input=[str(c) for c in clips], probabilities=True)
    assert_as_torch(answers(done), rows)
    assert len(done.stdout.splitlines()) == 2
    quiet, broken = done.stderr.splitlines()
    assert quiet == "warning: quiet: has no voice: it is silent; it has no answer"
    assert broken.startswith("warning: broken: ")


def test_an_ensemble_is_not_one_file(tmp_path):
    weights = [make_checkpoint(tmp_path, "text", seed=seed) for seed in (0, 1)]
    with pytest.raises(UserError, match="--export writes one model"):
        predict(options_of(weights, tmp_path, export=str(tmp_path / "model.onnx")))


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    """A folder of text features, and a model that reads them."""
    folder = tmp_path_factory.mktemp("text")
    make_features(folder / "features", clips={"test": 4}, text_dim=TEXT_DIM)
    exported(make_checkpoint(folder, "text"), folder)
    return folder


def test_single_clips_are_answered_by_their_names(text_model):
    done = example(
        text_model, text_model / "model.onnx", "--features", text_model / "features",
        "--split", "test", "test002", "test001",
    )  # fmt: skip
    assert list(answers(done)) == ["test001", "test002"]


def test_a_damaged_file_costs_its_own_answer(text_model, tmp_path):
    shutil.copytree(text_model / "features", tmp_path / "features")
    damaged = tmp_path / "features" / "test" / "text" / "test001.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    (tmp_path / "features" / "test" / "text" / "test002.npz").unlink()
    done = example(tmp_path, text_model / "model.onnx", "--features", tmp_path / "features")
    assert list(answers(done)) == ["test000", "test003"]
    first, second = done.stderr.splitlines()
    assert f"{damaged}: damaged" in first
    assert "test002.npz: missing" in second


def test_what_does_not_fit_is_refused_in_a_line(text_model, tmp_path):
    model, features = text_model / "model.onnx", text_model / "features"
    assert "give --features FOLDER" in refused(example(tmp_path, model, "clip.wav"))
    assert "nothing to answer" in refused(example(tmp_path, model))
    assert "required: model; see --help" in refused(example(tmp_path))
    nobody = example(tmp_path, model, "--features", features, "stranger")
    assert "has no clip stranger" in refused(nobody)
    other = example(tmp_path, model, "--features", features, "--split", "val")
    assert "has no split val, only test" in refused(other)
    assert "holds no features" in refused(example(tmp_path, model, "--features", tmp_path))
    (tmp_path / "torn.onnx").write_bytes(model.read_bytes()[:5000])
    for name, wanted in (("torn", "damaged, or no ONNX model"), ("gone", "no such file")):
        done = example(tmp_path, tmp_path / f"{name}.onnx", "--features", features)
        assert f"{name}.onnx: {wanted}" in refused(done)


def test_a_model_of_an_extension_names_the_mend(text_model, tmp_path):
    model = onnx.load(text_model / "model.onnx")
    (said,) = [one for one in model.metadata_props if one.key == "recipe"]
    said.value = said.value.replace('"feature": "text"', '"feature": "pose"')
    onnx.save(model, tmp_path / "pose.onnx")
    done = example(tmp_path, tmp_path / "pose.onnx", "--features", text_model / "features")
    assert "EMOTION_EXTEND=FILE.py" in refused(done)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"recipe": "[]"},
        {"recipe": "{"},
        {"class_names": "[1]"},
        {"features": "3"},
    ],
)
def test_a_model_that_does_not_say_what_it_reads_is_refused(text_model, tmp_path, said):
    bare = onnx.load(text_model / "model.onnx")
    known = {one.key: one.value for one in bare.metadata_props}
    del bare.metadata_props[:]
    onnx.helper.set_model_props(bare, known | said if said else {})
    onnx.save(bare, tmp_path / "bare.onnx")
    done = example(tmp_path, tmp_path / "bare.onnx", "--features", text_model / "features")
    assert "bare.onnx: does not say what it reads" in refused(done)
