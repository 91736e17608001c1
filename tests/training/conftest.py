"""Features that several files of tests train on, and one run."""

import contextlib
import io

import pytest

from emotion.training import logbook
from tests.features import make_features
from tests.slim import slim
from tests.training.runs import run_of


@pytest.fixture(scope="package")
def features(tmp_path_factory):
    """8 clips for training, 7 for validation, in every modality."""
    folder = tmp_path_factory.mktemp("features")
    make_features(folder, clips={"train": 8, "val": 7}, frames=(20, 60))
    return folder


@pytest.fixture(scope="package")
def few(tmp_path_factory):
    """For the slow models: 4 clips for training, 3 for validation."""
    folder = tmp_path_factory.mktemp("few")
    make_features(folder, clips={"train": 4, "val": 3}, frames=(20, 32))
    return folder


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """No pictures but in runs that a module's fixture makes."""
    for name in ("draw_curves", "draw_confusion"):
        monkeypatch.setattr(logbook, name, lambda *_: None)


@pytest.fixture(scope="package", autouse=True)
def slim_speech():
    """Speech networks of one layer: what EfficientNet learns is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        slim(patch)
        yield


@pytest.fixture(scope="package")
def folded(tmp_path_factory):
    """24 clips of four speakers and three classes, without official splits."""
    folder = tmp_path_factory.mktemp("folded")
    make_features(folder, clips={"all": 24}, n_classes=3, speakers=4)
    return folder


@pytest.fixture(scope="package")
def finished(features, tmp_path_factory):
    """A finished text run of four epochs, and what it printed."""
    logs = tmp_path_factory.mktemp("logs")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        folder = run_of(features, logs, n_epoch=4, learning_rate=1e-2)
    return folder, printed.getvalue().splitlines()
