"""A file that takes too long to read costs its own row of predict.py, not the run."""

import csv

import pytest

from emotion.prediction import reading
from emotion.prediction.run import predict
from emotion.workers import Crew, Lost, in_order
from tests.faults.media import long_sound
from tests.media import noise, tone, write_clip
from tests.prediction import PLAIN, answers_of, make_checkpoint, options_of
from tests.slim import slim

LIMIT = 4.0
SLOW = {"seconds": 14_000, "channels": 8}


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """A good recording before a slow one and after it."""
    slim(monkeypatch)
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "a.wav", None, tone(0.8, 500) + noise(0.8))
    long_sound(folder / "b.wav", **SLOW)
    write_clip(folder / "c.wav", None, tone(0.8, 300) + noise(0.8))
    return folder


@pytest.mark.parametrize("alone", [False, True])
def test_a_slow_file_leaves_its_row_empty(clips, tmp_path, capsys, alone):
    weights = make_checkpoint(tmp_path, "speech", features=PLAIN)
    given = clips / "b.wav" if alone else clips
    rows = answers_of(
        weights, tmp_path, input=[str(given)], num_workers=1, clip_timeout=LIMIT, batch_size=2
    )
    empty = [row["FileID"] for row in rows if not row["Emotion"]]
    assert (len(rows), empty) == (1 if alone else 3, ["b"])
    said = capsys.readouterr().err
    assert f"b.wav: took longer than {LIMIT:g} s (--clip_timeout); its row is empty" in said


def test_a_slow_recording_has_no_timeline(clips, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("emotion.prediction.timeline.TIMEOUT_BYTES", 10**12)
    weights = make_checkpoint(tmp_path, "speech", features=PLAIN)
    flags = {"timeline": True, "num_workers": 1, "clip_timeout": LIMIT}
    options = options_of(weights, tmp_path, input=[str(clips)], **flags)
    assert predict(options) == 0
    with open(options.output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["FileID"], bool(row["Emotion"])) for row in rows] == [
        ("a", True),
        ("b", False),
        ("c", True),
    ]
    said = capsys.readouterr().err
    assert f"b.wav: took longer than {LIMIT:g} s (--clip_timeout); its row is empty" in said


def prepare(_):
    """Nothing."""


def work(job):
    """The first job takes long; the second one too long."""
    import time

    time.sleep({0: 1.0, 1: 60.0}.get(job, 0.0))
    return job, time.monotonic()


def test_answers_come_in_order_and_not_far_ahead():
    crew = Crew(prepare, (), work, 3.0)
    answers = list(in_order(range(8), 2, crew, ahead=3))
    assert answers[1] == Lost(1, "took longer than 3 s (--clip_timeout)")
    done = dict(answer for answer in answers if not isinstance(answer, Lost))
    assert list(done) == [0, 2, 3, 4, 5, 6, 7]
    assert done[4] > done[3] + 1.0  # held back until the second was given up
    assert reading.AHEAD > 0
