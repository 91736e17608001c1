"""ONNX files that are shown faces: sizes, scales, outputs, and what cannot be used.

The networks are tiny ones with drawn weights, made here.
"""

import shutil
import sys

import cv2
import numpy as np
import pytest

from emotion.errors import UserError
from emotion.frozen.face_onnx import FaceOnnx
from tests.encoders import CROPS, make_onnx, shrunk

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def answer_of(path, pictures, output=0):
    """What onnxruntime makes of pictures."""
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": pictures})[output]


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
