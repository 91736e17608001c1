"""Frozen networks that are shown faces: ONNX files, image encoders, and all three scripts.

The networks are tiny ones with drawn weights, made here.
"""

import json
import os
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch

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
from tests.media import face_frame, noise, plain, portrait, tone, write_clip
from tests.prediction import rows_of
from tests.training.runs import refused, run_of

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
transformers = pytest.importorskip("transformers")

NAMES = ("hap", "sad")
FACE = portrait(188)[:160, :160]
CROPS = np.stack([FACE, FACE[:, ::-1], 255 - FACE])
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


# -- ONNX files ----------------------------------------------------------------------------------


def make_onnx(
    path, *, shape=("N", 3, 32, 32), kind="FLOAT", before=(), named="inner", metadata=None, seed=0
):
    """A convolution, the mean over its map (``named``, 8 numbers), and a linear layer (7).

    Args:
        path: of the file.
        shape: of its input.
        kind: of its input's numbers.
        before: operations on the input: a name, and the constants that it takes.
        named: how the mean is called; an output, but for ``inner``.
        metadata: of the file.
        seed: of the weights.
    """
    rng = np.random.default_rng(seed)
    last = shape[3] in (1, 3)
    colours = shape[3 if last else 1]
    weights = {
        "kernel": rng.normal(size=(8, colours if isinstance(colours, int) else 3, 3, 3)) / 9,
        "matrix": rng.normal(size=(8, 7)),
        "bias": rng.normal(size=7),
    }
    nodes, now = [], "image"
    steps = [("Cast", (), {"to": onnx.TensorProto.FLOAT})] if kind != "FLOAT" else []
    steps += [("Transpose", (), {"perm": [0, 3, 1, 2]})] if last else []
    steps += [(name, constants, {}) for name, constants in before]
    for number, (name, constants, extra) in enumerate(steps):
        given = [f"constant{number}{place}" for place in range(len(constants))]
        weights |= dict(zip(given, map(np.array, constants), strict=True))
        nodes.append(onnx.helper.make_node(name, [now, *given], [f"step{number}"], **extra))
        now = f"step{number}"
    nodes += [
        onnx.helper.make_node("Conv", [now, "kernel"], ["map"], strides=[4, 4]),
        onnx.helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        onnx.helper.make_node("Flatten", ["mean"], [named]),
        onnx.helper.make_node("Gemm", [named, "matrix", "bias"], ["logits"]),
    ]
    outputs = ["logits", *([named] if named != "inner" else [])]
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [onnx.helper.make_tensor_value_info("image", getattr(onnx.TensorProto, kind), shape)],
        [onnx.helper.make_tensor_value_info(name, 1, None) for name in outputs],
        [onnx.numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.helper.set_model_props(model, metadata or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return str(path)


def answer_of(path, pictures, output=0):
    """What onnxruntime makes of pictures."""
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": pictures})[output]


def shrunk(side=32):
    """The crops at a network's size, float32 (F, side, side, 3)."""
    crops = [cv2.resize(c, (side, side), interpolation=cv2.INTER_AREA) for c in CROPS]
    return np.stack(crops).astype(np.float32)


SCALED = {
    "imagenet": (shrunk() / 255 - MEAN) / DEVIATION,
    "raw": shrunk(),
    "unit": shrunk() / 255,
    "signed": shrunk() / 127.5 - 1,
    "raw_bgr": shrunk()[..., ::-1],
    "imagenet_bgr": ((shrunk() / 255 - MEAN) / DEVIATION)[..., ::-1],
}


@pytest.mark.parametrize("scale", SCALED)
def test_pixels_are_scaled_as_the_flag_says(tmp_path, scale):
    path = make_onnx(tmp_path / "a.onnx")
    expected = answer_of(path, SCALED[scale].transpose(0, 3, 1, 2).astype(np.float32))
    found = FaceOnnx(path, scale=scale).embed(CROPS)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("made", "scale"),
    [
        ({}, "imagenet"),
        ({"before": [("Sub", [100.0]), ("Div", [50.0])]}, "raw"),
        ({"before": [("Identity", []), ("Mul", [0.01])]}, "raw"),
        ({"shape": ("N", 32, 32, 3)}, "imagenet"),
        ({"shape": ("N", 32, 32, 3), "before": [("Sub", [100.0])]}, "raw"),
        ({"kind": "UINT8"}, "raw"),
        ({"metadata": {"Image.NominalPixelRange": "Normalized_1_1"}}, "signed"),
        ({"metadata": {"Image.BitmapPixelFormat": "Bgr8"}}, "imagenet_bgr"),
    ],
    ids=["conv", "arithmetic", "behind", "channels last", "both", "uint8", "range", "colours"],
)
def test_without_a_flag_the_scale_is_read_from_the_file(tmp_path, made, scale):
    path = make_onnx(tmp_path / "a.onnx", **made)
    network = FaceOnnx(path)
    assert network.scale == scale
    same = FaceOnnx(path, scale=scale).embed(CROPS)
    np.testing.assert_array_equal(network.embed(CROPS), same)


@pytest.mark.parametrize(
    "shape",
    [
        ("N", 32, 32, 3),
        (1, 3, 32, 32),
        (4, 3, 32, 32),
        (None, 3, 32, 32),
        ("N", "C", 32, 32),
    ],
)
def test_whatever_the_layout_and_the_batch_the_vectors_are_the_same(tmp_path, shape):
    expected = FaceOnnx(make_onnx(tmp_path / "a.onnx")).embed(CROPS)
    found = FaceOnnx(make_onnx(tmp_path / "b.onnx", shape=shape)).embed(CROPS)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_network_of_any_size_sees_a_crop_as_it_is(tmp_path):
    path = make_onnx(tmp_path / "a.onnx", shape=("N", 3, "H", "W"))
    expected = answer_of(path, CROPS.transpose(0, 3, 1, 2).astype(np.float32))
    np.testing.assert_allclose(FaceOnnx(path, scale="raw").embed(CROPS), expected, rtol=1e-3)


def test_a_network_of_grey_pictures_is_shown_grey_ones(tmp_path):
    path = make_onnx(tmp_path / "a.onnx", shape=(1, 1, 32, 32), before=[("Div", [255.0])])
    grey = np.stack([cv2.cvtColor(c.astype(np.uint8), cv2.COLOR_RGB2GRAY) for c in shrunk()])
    for crop, picture in zip(CROPS, grey, strict=True):
        expected = answer_of(path, picture[None, None].astype(np.float32))
        np.testing.assert_allclose(FaceOnnx(path).embed(crop[None]), expected, atol=0.01)


def test_a_vector_does_not_depend_on_its_neighbours_and_takes_one_thread(tmp_path):
    network = FaceOnnx(make_onnx(tmp_path / "a.onnx"))
    alone = np.concatenate([network.embed(crop[None]) for crop in CROPS])
    np.testing.assert_array_equal(network.embed(CROPS), alone)
    assert network.session.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize(
    ("named", "given", "kept", "width"),
    [
        ("inner", "", "logits", 7),
        ("embedding", "", "embedding", 8),
        ("features", "", "features", 8),
        ("other", "", "logits", 7),
        ("embedding", "logits", "logits", 7),
        ("inner", "penultimate", "inner", 8),
        ("inner", "mean", "mean", 8),
    ],
)
def test_what_is_kept(tmp_path, named, given, kept, width):
    network = FaceOnnx(make_onnx(tmp_path / "a.onnx", named=named), given)
    assert network.output == kept
    vectors = network.embed(CROPS)
    assert vectors.shape == (3, width)
    plainly = FaceOnnx(make_onnx(tmp_path / "b.onnx", named="embedding")).embed(CROPS)
    if width == 8:
        np.testing.assert_allclose(vectors, plainly, atol=1e-3)


def test_a_fingerprint_is_of_the_network_and_of_weights_beside_it(tmp_path):
    path = make_onnx(tmp_path / "a.onnx")
    first = FaceOnnx(path).fingerprint
    copy = shutil.copy(path, tmp_path / "b.onnx")
    assert FaceOnnx(str(copy)).fingerprint == first
    assert FaceOnnx(make_onnx(tmp_path / "c.onnx", seed=1)).fingerprint != first
    prints = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        place = tmp_path / str(seed) / "a.onnx"
        model = onnx.load(make_onnx(tmp_path / "d.onnx", seed=seed))
        onnx.save(model, place, save_as_external_data=True, location="a.data", size_threshold=0)
        assert (place.parent / "a.data").is_file()
        network = FaceOnnx(str(place))
        expected = FaceOnnx(str(tmp_path / "d.onnx")).embed(CROPS)
        np.testing.assert_array_equal(network.embed(CROPS), expected)
        prints.append(network.fingerprint)
    assert prints[0] != prints[1]


def told(path, *given, **flags):
    """The one line of what cannot be used."""
    with pytest.raises(UserError) as caught:
        FaceOnnx(str(path), *given, **flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"shape": ("N", 2, 32, 32)}, "its input is"),
        ({"shape": ("N", 3, 40000, 40000)}, "its input is"),
        ({"shape": (100000, 3, 32, 32)}, "its input is"),
        ({"kind": "INT64"}, "its inputs are image tensor(int64)"),
        ({"shape": ("N", 3, 2, 2)}, "fails on a picture"),
        ({"before": [("Mul", [0.0]), ("Log", [])]}, "not finite"),
        ({"before": [("Mul", [1e9])]}, "beyond 65504"),
    ],
    ids=["colours", "size", "batch", "type", "too small", "not finite", "too large"],
)
def test_a_network_that_cannot_be_used_is_told_in_a_line(tmp_path, made, reason):
    said = told(make_onnx(tmp_path / "a.onnx", **made), scale="raw")
    assert said.startswith(f"--face_encoder {tmp_path / 'a.onnx'}: ")
    assert reason in said


def of_nodes(path, nodes, shape, outputs=("out",), inputs=("image",)):
    """A network of a few operations without weights."""
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [onnx.helper.make_tensor_value_info(name, 1, shape) for name in inputs],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def test_other_inputs_and_outputs_are_told_in_a_line(tmp_path):
    path, node = tmp_path / "a.onnx", onnx.helper.make_node
    flat = [node("Flatten", ["image"], ["out"])]
    assert "its inputs are image tensor(float) ['N', 96]" in told(of_nodes(path, flat, ["N", 96]))
    same = [node("Relu", ["image"], ["out"])]
    said = told(of_nodes(path, same, ["N", 3, 8, 8]))
    assert "its outputs are out float32 (1, 3, 8, 8)" in said
    two = [node("Add", ["image", "other"], ["sum"]), node("Flatten", ["sum"], ["out"])]
    given = of_nodes(path, two, ["N", 3, 8, 8], inputs=("image", "other"))
    assert "its inputs are image tensor(float)" in told(given)
    best = [*flat, node("ArgMax", ["out"], ["best"])]
    said = told(of_nodes(path, best, ["N", 3, 8, 8]), "best")
    assert "the output best is int64 (1, 192)" in said


def test_files_that_are_none_and_flags_that_do_not_fit_are_told_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "page.onnx").write_bytes(b"<html>log in to the network</html>")
    assert "not an ONNX network" in told(tmp_path / "page.onnx")
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert "not an ONNX network" in told(tmp_path / "empty.onnx")
    assert "no such file" in told(tmp_path / "nowhere.onnx")
    path = make_onnx(tmp_path / "a.onnx", kind="UINT8")
    assert "takes whole numbers; give raw" in told(path, scale="unit")
    assert "makes nothing of that name; its outputs are logits" in told(path, "nothing")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install -r requirements-onnx.txt" in told(path)


def test_weights_outside_the_folder_are_not_read(tmp_path):
    secret = tmp_path / "secret.data"
    secret.write_bytes(bytes(4000))
    model = onnx.load(make_onnx(tmp_path / "in" / "a.onnx"))
    tensor = next(one for one in model.graph.initializer if one.name == "bias")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../secret.data"), ("length", "28")):
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "in" / "a.onnx").write_bytes(model.SerializeToString())
    assert "not an ONNX network" in told(tmp_path / "in" / "a.onnx")


def test_numbers_that_are_none_are_refused_clip_by_clip(tmp_path):
    network = FaceOnnx(make_onnx(tmp_path / "a.onnx", before=[("Add", [1.0]), ("Log", [])]))
    assert network.scale == "raw"
    with pytest.raises(ValueError, match="not finite"):
        FaceOnnx(make_onnx(tmp_path / "b.onnx", before=[("Log", [])]), scale="raw").embed(
            np.zeros_like(CROPS)
        )
    assert np.isfinite(network.embed(np.zeros_like(CROPS))).all()


# -- image encoders of the hub -------------------------------------------------------------------

SMALL = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "patch_size": 8, "image_size": 32,
}  # fmt: skip


def make_encoder(folder, kind="vit", seed=0):
    """A tiny CLIP, its vision part, DINOv2, ViT, or ViT with a classifier in place of a pooler."""
    torch.manual_seed(seed)
    size, square = {"shortest_edge": 40}, {"height": 32, "width": 32}
    if kind == "clip":
        text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
        text |= {"num_attention_heads": 2, "vocab_size": 9, "bos_token_id": 0, "eos_token_id": 1}
        config = transformers.CLIPConfig(text_config=text, vision_config=SMALL, projection_dim=8)
        model = transformers.CLIPModel(config)
    elif kind == "clip vision":
        model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SMALL))
    elif kind == "dinov2":
        given = {name: value for name, value in SMALL.items() if name != "intermediate_size"}
        model = transformers.Dinov2Model(transformers.Dinov2Config(**given, mlp_ratio=1))
    elif kind == "vit":
        model = transformers.ViTModel(transformers.ViTConfig(**SMALL))
    else:
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL))
    with torch.no_grad():  # drawn so small that all pictures look alike
        for parameter in model.parameters():
            parameter.mul_(8.0) if parameter.dim() > 1 else None
    if kind == "vit":
        made = transformers.ViTImageProcessor(size=square)
    elif kind == "vit classifier":
        made = transformers.ViTImageProcessor(size=square, do_normalize=False)
    else:
        made = transformers.CLIPImageProcessor(size=size, crop_size=square)
    model.eval().save_pretrained(folder)
    made.save_pretrained(folder)
    return str(folder)


KINDS = ("clip", "clip vision", "dinov2", "vit", "vit classifier")


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_the_encoders_own(tmp_path, kind):
    network = FaceTransformer(make_encoder(tmp_path / "tiny", kind))
    small = [one.astype(np.uint8) for one in shrunk()]
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "tiny")
    inputs = processor(small, return_tensors="pt", do_resize=False, do_center_crop=False)
    model = transformers.AutoModel.from_pretrained(tmp_path / "tiny").eval()
    with torch.inference_mode():
        answer = getattr(model, "vision_model", model)(pixel_values=inputs.pixel_values)
    pooled = kind != "vit classifier"
    expected = answer.pooler_output if pooled else answer.last_hidden_state[:, 0]
    assert network.output == ("pooled" if pooled else "cls")
    found = network.embed(CROPS)
    assert (found.dtype, found.shape) == (np.float16, (3, 16))
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert np.abs(found[0].astype(float) - found[2]).max() > 0.02


@pytest.mark.parametrize("kind", ["vit", "vit classifier"])
def test_the_fingerprint_of_an_encoder_is_that_of_its_files(tmp_path, kind):
    path = make_encoder(tmp_path / "tiny", kind)
    first = FaceTransformer(path).fingerprint
    assert FaceTransformer(path).fingerprint == first  # nothing in it is drawn
    other = make_encoder(tmp_path / "other" / "tiny", kind, seed=1)
    assert FaceTransformer(other).fingerprint != first
    config = tmp_path / "tiny" / "preprocessor_config.json"
    given = json.loads(config.read_text()) | {"do_normalize": True, "image_mean": [0.1, 0.2, 0.3]}
    config.write_text(json.dumps(given))
    assert FaceTransformer(path).fingerprint != first


def test_encoders_that_cannot_be_used_are_told_in_a_line(tmp_path, monkeypatch):
    folder = tmp_path / "vit"
    make_encoder(folder)
    (folder / "preprocessor_config.json").unlink()
    for path in (tmp_path, folder):
        with pytest.raises(UserError, match=f"--face_encoder {path}: not an image encoder") as said:
            FaceTransformer(str(path))
        assert "\n" not in str(said.value)
    half = make_encoder(tmp_path / "half")
    model = transformers.ViTModel.from_pretrained(half)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("layernorm.")}
    model.save_pretrained(half, state_dict=state)
    with pytest.raises(UserError, match="its file has no weights layernorm"):
        FaceTransformer(half)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="nobody/nothing: no such folder, and not to be had"):
        FaceTransformer("nobody/nothing")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-text\.txt"):
        FaceTransformer(half)


def test_nothing_of_an_encoders_folder_is_run(tmp_path):
    folder = tmp_path / "evil"
    make_encoder(folder)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    own = {
        "config.json": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"},
        "preprocessor_config.json": {"AutoImageProcessor": "evil.Processor"},
    }
    for name, mapped in own.items():
        content = json.loads((folder / name).read_text()) | {"auto_map": mapped}
        (folder / name).write_text(json.dumps(content))
    FaceTransformer(str(folder))
    assert not (tmp_path / "ran").exists()


# -- through the scripts -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """An ONNX file and a folder, by name."""
    folder = tmp_path_factory.mktemp("networks")
    given = {"before": [("Sub", [100.0]), ("Div", [50.0])], "named": "embedding"}
    return {
        "tiny": make_onnx(folder / "tiny.onnx", **given),
        "small": make_encoder(folder / "small"),
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
    """Features of both networks, made by worker processes."""
    folder = tmp_path_factory.mktemp("made") / "features"
    return preprocessed(corpus, folder, networks.values(), num_workers=2)


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
