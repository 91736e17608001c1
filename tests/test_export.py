"""ONNX files and ``examples/onnx_predict.py``: sound files, single clips, and what is refused."""

import shutil

import numpy as np
import pytest

from emotion.errors import UserError
from emotion.prediction.run import predict
from tests.exports import answers, assert_as_torch, example, exported, without_torch
from tests.features import make_features
from tests.media import noise, tone, write_clip
from tests.prediction import PLAIN, TEXT_DIM, answers_of, make_checkpoint, options_of

onnx = pytest.importorskip("onnx")


def refused(done):
    """The one line of an example that refused."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    return done.stderr


def test_all_stored_features_are_read_without_torch():
    read = (
        "from emotion import registry\n"
        "for name, line in registry.FEATURES.items():\n"
        "    if line.kind == registry.SPOKEN:\n"
        "        continue  # is embedded before anything reads it\n"
        "    module = registry.load('FEATURES', name)\n"
        "    feature = registry.feature(name + 'some' * name.endswith(registry.FAMILY))\n"
        "    feature.reader(registry.options_class(module)(), (3,))\n"
    )
    done = without_torch("-c", read)
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
    done = example(tmp_path / "model.onnx", *clips)
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
        text_model / "model.onnx", "--features", text_model / "features",
        "--split", "test", "test002", "test001",
    )  # fmt: skip
    assert list(answers(done)) == ["test001", "test002"]


def test_a_damaged_file_costs_its_own_answer(text_model, tmp_path):
    shutil.copytree(text_model / "features", tmp_path / "features")
    damaged = tmp_path / "features" / "test" / "text" / "test001.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    (tmp_path / "features" / "test" / "text" / "test002.npz").unlink()
    done = example(text_model / "model.onnx", "--features", tmp_path / "features")
    assert list(answers(done)) == ["test000", "test003"]
    first, second = done.stderr.splitlines()
    assert f"{damaged}: damaged" in first
    assert "test002.npz: missing" in second


def test_what_does_not_fit_is_refused_in_a_line(text_model, tmp_path):
    model, features = text_model / "model.onnx", text_model / "features"
    assert "give --features FOLDER" in refused(example(model, "clip.wav"))
    assert "nothing to answer" in refused(example(model))
    assert "required: model; see --help" in refused(example())
    nobody = example(model, "--features", features, "stranger")
    assert "has no clip stranger" in refused(nobody)
    other = example(model, "--features", features, "--split", "val")
    assert "has no split val, only test" in refused(other)
    assert "holds no features" in refused(example(model, "--features", tmp_path))
    (tmp_path / "torn.onnx").write_bytes(model.read_bytes()[:5000])
    for name, wanted in (("torn", "damaged, or no ONNX model"), ("gone", "no such file")):
        done = example(tmp_path / f"{name}.onnx", "--features", features)
        assert f"{name}.onnx: {wanted}" in refused(done)


def test_a_model_of_an_extension_names_the_mend(text_model, tmp_path):
    model = onnx.load(text_model / "model.onnx")
    (said,) = [one for one in model.metadata_props if one.key == "recipe"]
    said.value = said.value.replace('"feature": "text"', '"feature": "pose"')
    onnx.save(model, tmp_path / "pose.onnx")
    done = example(tmp_path / "pose.onnx", "--features", text_model / "features")
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
    done = example(tmp_path / "bare.onnx", "--features", text_model / "features")
    assert "bare.onnx: does not say what it reads" in refused(done)
