"""VGG-Face embeddings: normalisation, weights, and doing without them."""

import hashlib
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1

from emotion.errors import UserError
from emotion.frozen.vggface import (
    URL,
    FaceEmbedder,
    find_weights,
    fingerprint,
    normalise,
)
from emotion.inputs.crop_vectors import embed_faces
from emotion.inputs.faces import Detection, track_faces
from tests.media import plain, portrait


@pytest.fixture(scope="module")
def network(vggface_weights):
    """The library's own network with the same weights, head and all."""
    state = torch.load(vggface_weights, weights_only=True)
    assert any(key.startswith("logits.") for key in state)
    network = InceptionResnetV1(classify=True, num_classes=10).eval()
    network.load_state_dict(state)
    network.classify = False
    return network


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """A machine without a cache and without the internet."""
    calls = []

    def fail(url, *args, **kwargs):
        calls.append(url)
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    return calls


def crops():
    """Three different pictures, uint8 (3, 160, 160, 3)."""
    face = portrait(188)[:160, :160]
    return np.stack([face, face[:, ::-1], 255 - face])


# -- the network's input -------------------------------------------------------------------------


def test_pixels_are_normalised_to_plus_and_minus_one_channels_first():
    picture = np.zeros((1, 160, 160, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[0, 5, 7, 2] = 255, 128, 1
    tensor = normalise(picture)
    assert tensor.shape == (1, 3, 160, 160)
    assert tensor.dtype == torch.float32
    assert (tensor[0, 0] == (255 - 127.5) / 128).all()
    assert (tensor[0, 1] == 0.5 / 128).all()
    assert tensor[0, 2, 5, 7] == (1 - 127.5) / 128
    assert tensor[0, 2, 0, 0] == -127.5 / 128


def test_embeddings_are_the_networks_own_on_normalised_rgb(network, vggface_weights):
    embeddings = FaceEmbedder(vggface_weights, dtype=torch.float32).embed(crops())
    assert embeddings.shape == (3, 512)
    assert embeddings.dtype == np.float16
    with torch.no_grad():
        pixels = torch.tensor(crops().astype(np.float32)).permute(0, 3, 1, 2)
        expected = network((pixels - 127.5) / 128).numpy()
    np.testing.assert_allclose(embeddings, expected, atol=1e-3)
    assert np.abs(expected[0] - expected[2]).max() > 1e-2
    np.testing.assert_allclose(np.linalg.norm(embeddings.astype(np.float32), axis=1), 1, atol=2e-3)


def test_bfloat16_changes_an_embedding_by_little(vggface_weights):
    exact, quick = (
        FaceEmbedder(vggface_weights, dtype=dtype).embed(crops()).astype(np.float64)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert (exact * quick).sum(axis=1).min() > 0.998
    np.testing.assert_allclose(np.linalg.norm(quick, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_is_used_where_the_processor_has_it(vggface_weights, monkeypatch, fast, dtype):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: fast)
    embedder = FaceEmbedder(vggface_weights)
    assert next(embedder.network.parameters()).dtype == dtype
    assert embedder.embed(crops()).dtype == np.float16


def test_rows_without_a_face_repeat_the_embedding_of_their_crop(vggface_weights):
    class FirstAndLast:
        def detect(self, frame, previous=None):
            box = np.array([0, 0, 140, 140], np.float32)
            return Detection(box, 0.99) if frame.max() > 50 else None

    first, _, third = crops()
    frames = [first, plain(0, 160, 160), plain(0, 160, 160), third]
    faces = track_faces(np.arange(4.0), frames, FirstAndLast(), detect_every=1)
    assert faces.found.tolist() == [True, False, False, True]
    embeddings = embed_faces(faces, FaceEmbedder(vggface_weights))
    assert embeddings.shape == (4, 512)
    np.testing.assert_array_equal(embeddings[0], embeddings[1])
    np.testing.assert_array_equal(embeddings[2], embeddings[3])
    assert (embeddings[0] != embeddings[3]).any()


# -- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"<html>log in to the network</html>", b"", {"conv.weight": torch.zeros(2)}, [1, 2, 3]],
    ids=["web page", "empty", "another network", "a list"],
)
def test_a_file_that_is_no_checkpoint_of_the_network_is_refused_by_name(tmp_path, content):
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"weights\.pt: not a VGG-Face.*--vggface_weights"):
        FaceEmbedder(path)


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (Path.touch, (self.canary,))


def test_a_checkpoint_with_code_in_it_runs_nothing(tmp_path):
    torch.save({"a": Bomb(tmp_path / "canary")}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt"):
        FaceEmbedder(tmp_path / "weights.pt")
    assert not (tmp_path / "canary").exists()


def test_a_given_file_is_taken_and_a_missing_one_refused(vggface_weights, no_network):
    assert find_weights(str(vggface_weights)) == vggface_weights
    with pytest.raises(UserError, match=r"nowhere\.pt: no such file.*auto or none"):
        find_weights("nowhere.pt")
    assert no_network == []


def test_none_means_none_without_a_word(no_network, capsys):
    assert find_weights("none") is None
    assert capsys.readouterr() == ("", "")
    assert no_network == []


def test_auto_without_a_network_gives_none_and_one_line(no_network, capsys):
    assert find_weights("auto") is None
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "--vggface_weights FILE" in captured.err
    assert "resnet3d" in captured.err
    assert no_network == [URL]


@pytest.mark.parametrize("error", [TimeoutError("timed out"), IncompleteRead(b"")])
def test_auto_with_a_broken_network_gives_none_and_one_line(no_network, monkeypatch, capsys, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    assert find_weights("auto") is None
    assert capsys.readouterr().err.count("\n") == 1


def test_auto_downloads_once_and_then_uses_the_cached_file(
    tmp_path, vggface_weights, no_network, monkeypatch
):
    def deliver(url, target, **kwargs):
        Path(target).write_bytes(vggface_weights.read_bytes())

    with monkeypatch.context() as online:
        online.setattr(torch.hub, "download_url_to_file", deliver)
        downloaded = find_weights("auto")
    assert downloaded.parent == tmp_path / "torch" / "checkpoints"
    assert downloaded.name == URL.rsplit("/", 1)[1]
    assert find_weights("auto") == downloaded  # without a network now
    assert no_network == []
    assert FaceEmbedder(downloaded).embed(crops()[:1]).shape == (1, 512)


def test_the_fingerprint_is_of_the_content(tmp_path):
    first, copy, other = (tmp_path / name for name in "abc")
    first.write_bytes(b"weights")
    copy.write_bytes(b"weights")
    other.write_bytes(b"other weights")
    assert fingerprint(first) == hashlib.sha256(b"weights").hexdigest()[:16] == fingerprint(copy)
    assert fingerprint(first) != fingerprint(other)
