"""Frozen networks that are shown faces, through all three scripts: what they make is stored,
trained on, and answered by.
"""

import os
import shutil

import numpy as np
import pytest

from emotion.errors import UserError
from emotion.frozen.face_onnx import FaceOnnx
from emotion.frozen.face_transformer import FaceTransformer
from emotion.inputs.face_states import describe, open_network
from emotion.inputs.feature import agree
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.prediction.options import PredictOptions
from emotion.prediction.run import predict
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.run import preprocess
from tests.encoders import make_image_encoder, make_onnx
from tests.media import face_frame, noise, plain, tone, write_clip
from tests.prediction import rows_of
from tests.training.runs import refused, run_of

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("transformers")

NAMES = ("hap", "sad")


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """An ONNX file and a folder, by name."""
    folder = tmp_path_factory.mktemp("networks")
    given = {"before": [("Sub", [100.0]), ("Div", [50.0])], "named": "embedding"}
    return {
        "tiny": make_onnx(folder / "tiny.onnx", **given),
        "small": make_image_encoder(folder / "small"),
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Ten films of a second, in the last of each split the face leaves; and what is no film."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(10):
        split = ("train", "val")[number % 5 == 4]
        label = NAMES[number % 2]
        path = folder / split / f"{number:03d}-{label}-{label}-{label}.mp4"
        path.parent.mkdir(exist_ok=True)
        film = [face_frame(left=20 + 10 * (number % 2) + step) for step in range(10)]
        if number > 7:
            film[5:] = [plain(90, 240, 180)] * 5
        write_clip(path, film, tone(1.0) + noise(1.0), fps=10)
    (folder / "train" / "010-hap-hap-hap.mp4").write_bytes(b"no film at all" * 20)
    return folder


def preprocessed(corpus, folder, encoders, **flags):
    flags = {"num_workers": 0, "vggface_weights": "none", "max_failures": 10.0, **flags}
    options = PreprocessOptions(
        data_dir=str(corpus), features_dir=str(folder), face_encoder=list(encoders), **flags
    )
    assert preprocess(options) == 0
    return FeatureStore(folder)


@pytest.fixture(scope="module")
def store(corpus, networks, tmp_path_factory):
    """Features of both networks, made by a worker process."""
    folder = tmp_path_factory.mktemp("made") / "features"
    return preprocessed(corpus, folder, networks.values(), num_workers=1)


def clip_of(store, number):
    split = ("train", "val")[number % 5 == 4]
    (record,) = [r for r in store.read_manifest(split) if r.stem.startswith(f"{number:03d}")]
    return StoredClip(store, split, record)


@pytest.mark.parametrize(("name", "width"), [("tiny", 8), ("small", 16)])
def test_a_row_a_sampled_time_and_without_a_face_that_of_its_crop(store, networks, name, width):
    clip = clip_of(store, 9)
    track, vectors = clip.read("video"), clip.read(f"face:{name}")
    assert vectors.values.dtype == np.float16
    assert vectors.values.shape == (len(track.time), width)
    np.testing.assert_array_equal(vectors.time, track.time)
    np.testing.assert_array_equal(vectors.found, track.found)
    assert 0 < track.found.sum() < len(track.found)
    assert (vectors.values[~track.found] == vectors.values[track.found][-1]).all()
    network = FaceOnnx(networks[name]) if name == "tiny" else FaceTransformer(networks[name])
    np.testing.assert_allclose(vectors.values, network.embed(track.decode()), atol=2e-3)


def test_the_settings_say_what_made_them(store, networks):
    settings = store.read_description()["settings"]
    told = settings["face:tiny"]
    assert told == {
        "source": networks["tiny"],
        "fingerprint": FaceOnnx(networks["tiny"]).fingerprint,
        "output": "embedding",
        "scale": "raw",
    }
    assert settings["face:small"]["output"] == "pooled"
    assert agree(told, told | {"source": "elsewhere"})
    assert not agree(told, told | {"output": "logits"})
    assert agree("model@c82c layers 4", "all-MiniLM-L6-v2@c82c layers 4")
    assert not agree("model@c82c layers 4", "model@c82c layers 1")
    assert not agree("model@c82c layers 4", "model@0000 layers 4")


def test_a_broken_clip_costs_itself(store):
    states = {r.stem[:3]: r.state("face:tiny") for r in store.read_manifest("train")}
    assert states.pop("010") == "failed"
    assert set(states.values()) == {"ok"}


def test_a_network_is_added_to_a_folder_that_is_there(corpus, networks, store, tmp_path):
    folder = tmp_path / "features"
    made = preprocessed(corpus, folder, [])
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*/video/*")}
    preprocessed(corpus, folder, [networks["tiny"]])
    preprocessed(corpus, folder, [networks["small"]])
    assert {p: p.stat().st_mtime_ns for p in folder.glob("*/video/*")} == before
    assert {"face:tiny", "face:small"} <= made.read_description()["settings"].keys()
    for name in ("face:tiny", "face:small"):
        one, other = (clip_of(s, 0).read(name) for s in (made, store))
        np.testing.assert_allclose(one.values, other.values, atol=2e-3)


def test_another_network_of_the_same_name_is_refused(corpus, networks, store, tmp_path):
    other = make_onnx(tmp_path / "tiny.onnx", named="embedding", seed=1)
    with pytest.raises(UserError, match="were made with face:tiny"):
        preprocessed(corpus, store.root, [other])
    with pytest.raises(UserError, match="were made with face:tiny"):
        preprocessed(corpus, store.root, [networks["tiny"] + ":logits"])


def test_flags_that_do_not_fit_are_told_in_a_line(networks, tmp_path):
    again = shutil.copytree(networks["small"], tmp_path / "tiny")
    for flags, said in (
        ({"face_encoder": [networks["tiny"], str(again)]}, "two encoders are called face:tiny"),
        ({"face_encoder": [networks["small"] + ":a"]}, "--face_encoder .*:a: an ONNX file may"),
        ({"face_encoder": [networks["tiny"] + ":raw:unit"]}, "may be followed by one output"),
        ({"face_encoder": ["a@b.onnx"]}, "the name a@b has an @"),
    ):
        with pytest.raises(UserError, match=said):
            describe(PreprocessOptions(**flags))
    assert describe(PreprocessOptions(face_encoder=["vggface"])) == {}  # is made anyway


def answers(run, folder, name, **given):
    """Rows of predict.py."""
    output = folder / f"{name}.csv"
    options = PredictOptions(
        weights=[str(run)], output=str(output), probabilities=True, num_workers=0, **given
    )
    assert predict(options) == 0
    return rows_of(output)


@pytest.mark.parametrize(
    ("name", "model"), [("tiny", "attention_lstm"), ("small", "mlp"), ("tiny", "mlstm_fcn")]
)
def test_trained_on_vectors_a_file_is_answered_as_its_features_are(
    name, model, store, corpus, tmp_path
):
    run = run_of(
        store.root, tmp_path, "face", features=[name], face_model=model, n_epoch=1,
        learning_rate=1e-2,
    )  # fmt: skip
    files = [str(path) for path in sorted((corpus / "val").glob("*.mp4"))]
    of_files = answers(run, tmp_path, "files", input=files)
    of_features = answers(run, tmp_path, "split", features_dir=str(store.root), split="val")
    assert len(of_files) == 2
    for one, other in zip(of_files, of_features, strict=True):
        assert one["modalities"] == other["modalities"] == "face"
        for emotion in NAMES:
            assert float(one[emotion]) == pytest.approx(float(other[emotion]), abs=1e-3)


def test_a_network_that_has_moved_is_given_again(store, corpus, networks, tmp_path):
    run = run_of(store.root, tmp_path, "face", features=["tiny"], n_epoch=1)
    files = [str(next((corpus / "val").glob("004*")))]
    (first,) = answers(run, tmp_path, "first", input=files)
    moved, hidden = str(tmp_path / "tiny.onnx"), f"{networks['tiny']}.away"
    os.rename(networks["tiny"], hidden)
    try:
        open_network.cache_clear()
        with pytest.raises(UserError, match=r"tiny\.onnx: no such file.*wants that"):
            answers(run, tmp_path, "none", input=files)
        shutil.copy(hidden, moved)
        (again,) = answers(run, tmp_path, "again", input=files, encoders=[moved])
        make_onnx(tmp_path / "tiny.onnx", named="embedding", seed=3)
        open_network.cache_clear()
        with pytest.raises(UserError, match="is not the encoder that face:tiny was made with"):
            answers(run, tmp_path, "other", input=files, encoders=[moved])
    finally:
        os.rename(hidden, networks["tiny"])
    assert first == again


def test_a_recording_is_answered_by_windows_whoever_reads_it(store, corpus, tmp_path):
    run = run_of(store.root, tmp_path, "face", features=["tiny"], n_epoch=1)
    flags = {"input": [str(next((corpus / "val").glob("009*")))], "timeline": True, "window": 0.5}
    answered = []
    for workers in (0, 1):
        output = tmp_path / f"{workers}.csv"
        options = PredictOptions(
            weights=[str(run)], output=str(output), hop=0.25, num_workers=workers, **flags
        )
        assert predict(options) == 0
        answered.append([(row["start"], row["Emotion"]) for row in rows_of(output)])
    assert answered[0] == answered[1]
    seen = [bool(emotion) for _, emotion in answered[0]]
    assert seen == [True, True, False, False]  # the face leaves after half a second


def test_training_names_what_there_is(store, tmp_path):
    said = refused(store.root, tmp_path, "face", features=["clip"])
    assert "--features clip" in said
    assert "face:small face:tiny" in said
