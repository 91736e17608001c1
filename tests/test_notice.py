"""A model of generated clips says so, wherever its answers go."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from emotion import Predictor
from emotion.models.caption import captioned
from emotion.models.checkpoint import best_checkpoint, load_checkpoint
from emotion.models.plots import save
from emotion.prediction.run import predict
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.run import preprocess
from emotion.sample.corpus import NOTICE
from emotion.training.table import table
from tests.prediction import options_of, rows_of
from tests.samples import generate_few
from tests.slim import slim
from tests.training.runs import run_of


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A small sample corpus, its features, and a run on its words."""
    home = tmp_path_factory.mktemp("home")
    generate_few(home / "sample")
    options = PreprocessOptions(
        data_dir=str(home / "sample"),
        features_dir=str(home / "features"),
        vggface_weights="none",
        num_workers=0,
    )
    assert preprocess(options) == 0
    run_of(home / "features", home / "logs", "text", n_epoch=1)
    return home


def test_from_the_corpus_to_every_answer(home, tmp_path, capsys):
    run = home / "logs" / "text" / "run"
    assert load_checkpoint(best_checkpoint(run)).features["notice"] == NOTICE
    assert json.loads((run / "result.json").read_text())["notice"] == NOTICE
    assert f"notice: {NOTICE}" in table(home / "logs")
    capsys.readouterr()
    flags = {"features_dir": str(home / "features"), "split": "val"}
    options = options_of(run, tmp_path, report=str(tmp_path / "report"), **flags)
    assert predict(options) == 0
    assert {row["notice"] for row in rows_of(options.output)} == {NOTICE}
    assert f"warning: {NOTICE}" in capsys.readouterr().err.splitlines()
    assert f"{NOTICE.capitalize()}." in (tmp_path / "report" / "report.html").read_text()
    Predictor(run)
    assert f"warning: {NOTICE}" in capsys.readouterr().err.splitlines()


def test_a_timeline_carries_it_too(home, tmp_path, monkeypatch):
    slim(monkeypatch)
    run = run_of(home / "features", home / "logs", "speech", n_epoch=1, exp_name="voice")
    clip = next((home / "sample" / "test").glob("*.mp4"))
    options = options_of(run, tmp_path, timeline=True, input=[str(clip)])
    assert predict(options) == 0
    assert {row["notice"] for row in rows_of(options.output)} == {NOTICE}


def test_pictures_have_it_below(tmp_path):
    def drawn(name):
        figure = Figure(figsize=(4, 2), layout="constrained")
        figure.subplots().plot([0, 1])
        save(figure, tmp_path / name)
        return np.asarray(Image.open(tmp_path / name).convert("RGB"))

    plain = drawn("plain.png")
    with captioned(NOTICE):
        noted = drawn("noted.png")
    orange = (np.abs(noted.astype(int) - (0xB3, 0x59, 0x00)).sum(axis=2) < 30).sum(axis=1)
    assert np.flatnonzero(orange).min() > 0.8 * len(noted)
    assert (drawn("after.png") == plain).all()
