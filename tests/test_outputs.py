"""predict.py overwrites nothing but its own answers, and says so before the work starts."""

import os
import shutil

import pytest

from emotion.errors import UserError
from emotion.prediction import run
from emotion.prediction.run import predict
from tests.features import make_features
from tests.media import noise, tone, write_clip
from tests.prediction import PLAIN, TEXT_DIM, make_checkpoint, options_of
from tests.slim import slim


@pytest.fixture(autouse=True)
def no_work(monkeypatch):
    """What is refused is refused before any clip is read."""
    slim(monkeypatch)
    monkeypatch.setattr(run, "collect", lambda *_: pytest.fail("the work was started"))
    monkeypatch.setattr(run, "write_timelines", lambda *_: pytest.fail("the work was started"))
    monkeypatch.setattr(run, "export", lambda *_: pytest.fail("the work was started"))


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.wav", None, tone(0.8, 500) + noise(0.8))


@pytest.fixture
def weights(tmp_path):
    return make_checkpoint(tmp_path, "speech", features=PLAIN)


def refused(weights, folder, **flags):
    with pytest.raises(UserError) as caught:
        predict(options_of(weights, folder, **flags))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("flag", ["output", "export"])
@pytest.mark.parametrize("which", ["clip", "weights", "other name", "labels"])
def test_an_input_is_not_overwritten(tmp_path, clip, weights, flag, which):
    labels = tmp_path / "labels.csv"
    labels.write_text("FileID,Emotion\nclip,hap\n")
    path = {"clip": clip, "weights": weights, "labels": labels}.get(which, tmp_path / "other")
    if which == "other name":
        path.symlink_to(weights)
    if flag == "export" and which in ("clip", "labels"):
        pytest.skip("not read")
    before = path.read_bytes()
    given = {"input": [str(clip)], "labels": str(labels), flag: str(path)}
    assert refused(weights, tmp_path, **given) == (
        f"--{flag} {path}: is one of the inputs; give another path"
    )
    assert path.read_bytes() == before


def test_the_lists_of_the_features_are_not_overwritten(tmp_path):
    make_features(tmp_path / "features", clips={"test": 3}, text_dim=TEXT_DIM)
    weights = make_checkpoint(tmp_path, "text")
    path = tmp_path / "features" / "test" / "manifest.csv"
    given = {"features_dir": str(tmp_path / "features"), "split": "test", "output": str(path)}
    assert "is one of the inputs" in refused(weights, tmp_path, **given)


def test_the_files_of_a_run_are_not_overwritten(tmp_path, clip, weights):
    for name in ("last.pth", "config.json", "result.json", "metrics.csv"):
        path = weights.parent / name
        path.write_text("{}")
        line = refused(weights, tmp_path, input=[str(clip)], output=str(path))
        assert "is one of the inputs" in line


@pytest.mark.parametrize("flag", ["output", "export", "report", "calibrate"])
def test_what_is_no_file_is_not_replaced(tmp_path, clip, weights, flag):
    pipe = tmp_path / "pipe"
    if flag == "report":
        pipe = tmp_path / "report" / "report.json"
    if flag == "calibrate":
        pipe = weights.with_suffix(".temperature.json")
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)
    given = {"output": str(pipe), "report": str(pipe.parent), "calibrate": True}.get(
        flag, str(pipe)
    )
    line = refused(weights, tmp_path, **{"input": [str(clip)], flag: given})
    assert line == f"--{flag} {pipe}: is a named pipe, not a file; give another path"
    assert pipe.is_fifo()


@pytest.mark.parametrize("output", ["/dev/null", "/dev/stdout", "."])
def test_devices_and_folders_are_no_outputs(tmp_path, clip, weights, output):
    line = refused(weights, tmp_path, input=[str(clip)], output=output)
    assert line.startswith(f"--output {output}: is a")


def test_the_picture_of_a_timeline_does_not_take_the_place_of_a_recording(tmp_path, clip, weights):
    picture = shutil.copy(clip, tmp_path / "answers_clip.png")
    given = {"input": [str(clip), picture], "output": str(tmp_path / "answers.csv")}
    line = refused(weights, tmp_path, timeline=True, **given)
    assert line == f"--output {picture}: is one of the inputs; give another path"


def test_a_place_that_cannot_be_written_to_is_said_first(tmp_path, clip, weights):
    given = {"input": [str(clip)], "output": "/proc/answers.csv"}
    with pytest.raises(OSError, match="/proc"):
        predict(options_of(weights, tmp_path, **given))
    given["output"] = str(clip / "answers.csv")
    line = refused(weights, tmp_path, **given)
    assert (
        line
        == f"--output {clip}/answers.csv: a file is in the place of its folder; give another path"
    )


def test_trying_leaves_nothing_behind(tmp_path, clip, weights):
    before = sorted(tmp_path.rglob("*"))
    given = {"input": [str(clip)], "output": str(tmp_path / "new" / "answers.csv")}
    with pytest.raises(pytest.fail.Exception, match="the work was started"):
        predict(options_of(weights, tmp_path, **given))
    assert sorted(tmp_path.rglob("*")) == before
