"""Names as nobody would choose them, and streams that are not there: no answer is lost for one."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import numpy as np
import psutil
import pytest

from emotion.inputs.video import MediaError, probe, read_waveform
from emotion.paths import HOME
from emotion.prediction.run import predict
from emotion.training.logbook import Logbook
from tests.features import make_features
from tests.media import noise, tone, write_clip
from tests.prediction import PLAIN, answers_of, make_checkpoint, options_of, rows_of
from tests.slim import slim
from tests.training.runs import run_of

VOICE = tone(0.8, 300) + noise(0.8)
LONG = "가" * 78 + "abcde"  # 239 bytes
NAMES = [
    "talk.1",
    "talk.2",
    r"$\frac{1$",
    "a_{b",
    os.fsdecode(b"caf\xe9"),
    LONG,
    "=1+1",
    "%d",
    "a\nb",
    "-x",
    "'q",
]


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """A recording under each name."""
    slim(monkeypatch)
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in NAMES:
        write_clip(tmp_path / "clip.wav", None, VOICE).rename(folder / f"{name}.wav")
    return folder


def test_every_name_is_answered(clips, tmp_path, tally):
    weights = make_checkpoint(tmp_path, "speech", features=PLAIN)
    options = options_of(weights, tmp_path, input=[str(clips)])
    assert predict(options) == 0
    with open(options.output, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(NAMES)
    assert all(row["Emotion"] for row in rows)
    tally("odd names", len(NAMES))


def test_every_name_has_a_picture_of_its_own(clips, tmp_path, tally):
    weights = make_checkpoint(tmp_path, "speech", features=PLAIN)
    out = tmp_path / "out"
    options = options_of(weights, out, input=[str(clips)], timeline=True, num_workers=0)
    assert predict(options) == 0
    assert len(list(out.glob("*.png"))) == len(NAMES)
    assert {"answers_talk.1.png", "answers_talk.2.png"} <= {path.name for path in out.iterdir()}
    tally("odd names", len(NAMES))


def test_a_report_on_names_that_read_like_mathematics(tmp_path, tally):
    names = (r"$\frac{1$", "a_{", "^", r"\q$$", "=x", "b", "가")
    features = tmp_path / "features"
    store = make_features(features, clips={"test": 14}, text_dim=12)
    description = store.read_description()
    old = description["class_names"]
    store.write_description(description | {"class_names": list(names)})
    renamed = dict(zip(old, names, strict=True)) | {"": ""}
    records = [
        r._replace(integrated=renamed[r.integrated], face=renamed[r.face], speech="")
        for r in store.read_manifest("test")
    ]
    store.write_manifest("test", records)
    weights = make_checkpoint(tmp_path, "text", class_names=names)
    report = tmp_path / "report"
    flags = {"features_dir": str(features), "split": "test", "report": str(report)}
    assert answers_of(weights, tmp_path, **flags)
    assert (report / "pictures" / "confusion.png").is_file()
    tally("odd names", len(names))


def test_a_training_on_class_names_that_read_like_mathematics(tmp_path, tally, capsys):
    """The pictures came before result.json, and the last step of a training was lost."""
    features = tmp_path / "features"
    store = make_features(features, n_classes=3)
    names = [r"$\frac{1$", "a_{", "$"]
    description = store.read_description()
    renamed = dict(zip(description["class_names"], names, strict=True)) | {"": ""}
    store.write_description(description | {"class_names": names})
    for split in ("train", "val"):
        records = [
            r._replace(**{k: renamed[getattr(r, k)] for k in ("integrated", "face", "speech")})
            for r in store.read_manifest(split)
        ]
        store.write_manifest(split, records)
    folder = run_of(features, tmp_path / "logs", n_epoch=1)
    assert (folder / "result.json").is_file()
    assert (folder / "confusion.png").is_file()
    assert "missing" not in capsys.readouterr().err
    tally("odd names", 3)


def test_a_picture_that_cannot_be_drawn_costs_a_line(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise ValueError("no such glyph")

    monkeypatch.setattr("emotion.training.logbook.draw_confusion", fail)
    make_features(tmp_path / "features")
    folder = run_of(tmp_path / "features", tmp_path / "logs", n_epoch=1)
    assert (folder / "result.json").is_file()
    assert "a picture is missing (no such glyph)" in capsys.readouterr().err
    assert Logbook  # what writes them


def with_gap(path, hours, frames=8):
    """A sound that stops for hours, by its timestamps, in a file of a few kilobytes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number in range(frames):
            samples = np.full((1, 1024), 1000 * (-1) ** number, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
            late = round(hours * 3600 * 16_000) if number >= frames // 2 else 0
            frame.pts = number * 1024 + late
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_gap_of_days_is_not_filled(tmp_path, tally):
    path = with_gap(tmp_path / "gap.mkv", hours=48)
    assert path.stat().st_size < 64_000
    for read in (probe, read_waveform):
        with pytest.raises(MediaError, match=r"lasts 48\.0 h by its timestamps, more than 4"):
            read(path)
    assert read_waveform(with_gap(tmp_path / "short.mkv", hours=1 / 360)).size > 10 * 16_000
    tally("gaps of days", 3)


# -- processes ------------------------------------------------------------------------------------


def started(command, **settings):
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **settings}
    return subprocess.Popen([sys.executable, *command], cwd=HOME, **settings)


def test_a_reader_that_is_killed_costs_its_clip(tmp_path, tally):
    """`kill -9` of the process that reads: the clip under way has an empty row, all others not."""
    from tests.faults.media import long_sound

    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("talk.1", "talk.2"):
        write_clip(clips / f"{name}.wav", None, VOICE)
    long_sound(clips / "talk.15.wav", seconds=14_000)
    weights = make_checkpoint(tmp_path, "speech", speech_model="efficientnet_small", features=PLAIN)
    output = tmp_path / "answers.csv"
    command = ["predict.py", "--weights", str(weights), "--input", str(clips), "--output"]
    command += [str(output), "--num_workers", "1"]
    process = started(command)
    deadline = time.monotonic() + 90
    killed = False
    while not killed and time.monotonic() < deadline and process.poll() is None:
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.Error):
                if child.memory_info().rss > 1_000_000_000:  # it is in the midst of the long one
                    child.kill()
                    killed = True
        time.sleep(0.05)
    _, said = process.communicate(timeout=120)
    assert killed, said
    answered = {row["FileID"]: bool(row["Emotion"]) for row in rows_of(output)}
    assert answered == {"talk.1": True, "talk.15": False, "talk.2": True}
    assert "died of SIGKILL" in said
    tally("dead readers")


@pytest.mark.parametrize("script", ["predict.py", "train.py", "preprocess.py"])
def test_ctrl_c_while_packages_are_imported_is_one_line(script, tally):
    flags = {"predict.py": ["--weights", "none", "--input", "x"], "train.py": ["--mode", "text"]}
    process = started([script, *flags.get(script, [])])
    time.sleep(0.6)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    tally("signals")
    assert (process.returncode, out) in ((130, ""), (2, ""))
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_a_terminal_of_ascii_and_a_name_of_hangul(tmp_path, tally):
    make_features(tmp_path / "features", clips={"test": 3}, text_dim=12)
    weights = make_checkpoint(tmp_path, "text")
    command = ["predict.py", "--weights", str(weights), "--split", "test", "--features_dir"]
    command += [str(tmp_path / "features"), "--output", str(tmp_path / "답.csv"), "--num_workers"]
    command += ["0"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    process = started(command, env=environment)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert ".csv: 3 of 3 clips answered" in out
    assert (tmp_path / "답.csv").is_file()
    tally("streams")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_streams_that_are_closed(tmp_path, tally, closed):
    make_features(tmp_path / "features", clips={"test": 3}, text_dim=12)
    weights = make_checkpoint(tmp_path, "text")
    output = tmp_path / "answers.csv"
    command = f"{sys.executable} predict.py --weights {weights} --split test --num_workers 0"
    command += f" --features_dir {tmp_path / 'features'} --output {output} {closed}"
    done = subprocess.run(["bash", "-c", command], cwd=HOME, capture_output=True, text=True)
    tally("streams")
    assert (done.returncode, len(rows_of(output))) == (0, 3)
    assert "note:" not in done.stdout
