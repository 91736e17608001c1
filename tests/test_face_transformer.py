"""Image encoders of the Hugging Face hub that are shown faces, tiny ones with drawn weights."""

import json
import os
import sys

import numpy as np
import pytest
import torch

from emotion.errors import UserError
from emotion.frozen.face_transformer import FaceTransformer
from tests.encoders import CROPS, make_image_encoder, shrunk

transformers = pytest.importorskip("transformers")

KINDS = ("clip", "clip vision", "dinov2", "vit", "vit classifier")


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_the_encoders_own(tmp_path, kind):
    network = FaceTransformer(make_image_encoder(tmp_path / "tiny", kind))
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
    path = make_image_encoder(tmp_path / "tiny", kind)
    first = FaceTransformer(path).fingerprint
    assert FaceTransformer(path).fingerprint == first  # nothing in it is drawn
    other = make_image_encoder(tmp_path / "other" / "tiny", kind, seed=1)
    assert FaceTransformer(other).fingerprint != first
    config = tmp_path / "tiny" / "preprocessor_config.json"
    given = json.loads(config.read_text()) | {"do_normalize": True, "image_mean": [0.1, 0.2, 0.3]}
    config.write_text(json.dumps(given))
    assert FaceTransformer(path).fingerprint != first


def test_encoders_that_cannot_be_used_are_told_in_a_line(tmp_path, monkeypatch):
    folder = tmp_path / "vit"
    make_image_encoder(folder)
    (folder / "preprocessor_config.json").unlink()
    for path in (tmp_path, folder):
        with pytest.raises(UserError, match=f"--face_encoder {path}: not an image encoder") as said:
            FaceTransformer(str(path))
        assert "\n" not in str(said.value)
    half = make_image_encoder(tmp_path / "half")
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
    make_image_encoder(folder)
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
