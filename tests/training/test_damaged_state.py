"""A last.pth that is damaged, in every way that comes to mind, is one line."""

import io
import shutil

import pytest
import torch

from tests.features import make_features
from tests.training.runs import refused, stopped

BAD = (None, "text", -1, [], {}, float("nan"))
KEYS = ("options", "history", "best", "optimizer", "schedule", "micro_batch")


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """A run stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("halved")
    make_features(folder / "features", modalities=("text",), clips={"train": 8, "val": 7})
    patch = pytest.MonkeyPatch()
    run = stopped(folder / "features", folder / "logs", patch, step=3)
    patch.undo()
    return folder, run


@pytest.fixture
def copy(halved, tmp_path):
    folder, run = halved
    shutil.copytree(run, tmp_path / "logs" / "text" / "run")
    return folder / "features", tmp_path / "logs", tmp_path / "logs" / "text" / "run" / "last.pth"


def told(copy):
    features, logs, _ = copy
    message = refused(features, logs, resume=True)
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_short(copy, share):
    whole = copy[2].read_bytes()
    copy[2].write_bytes(whole[: int(share * len(whole))])
    assert "last.pth" in told(copy)


@pytest.mark.parametrize("place", range(12))
def test_zeros_in_the_middle(copy, place):
    whole = bytearray(copy[2].read_bytes())
    first = place * len(whole) // 12
    whole[first : first + 400] = bytes(400)
    copy[2].write_bytes(whole)
    assert "last.pth" in told(copy)


def changed(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize("key", KEYS)
def test_a_part_is_missing(copy, key):
    changed(copy[2], lambda content: content["training"].pop(key))
    assert "last.pth: damaged" in told(copy)


@pytest.mark.parametrize("bad", ["text", None, 7])
@pytest.mark.parametrize("key", ["options", "history", "optimizer", "schedule"])
def test_a_part_is_of_another_kind(copy, key, bad):
    changed(copy[2], lambda content: content["training"].update({key: bad}))
    assert "last.pth: damaged" in told(copy)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("key", ["model", "recipe", "class_names", "features"])
def test_a_part_of_the_model_is_of_another_kind(copy, key, bad):
    changed(copy[2], lambda content: content.update({key: bad}))
    assert told(copy)


def test_weights_of_another_shape(copy):
    changed(
        copy[2], lambda content: content["model"].update({"head.classifier.bias": torch.zeros(3)})
    )
    assert "last.pth: damaged" in told(copy)
