"""``from emotion import Predictor``: what a person at a Python prompt gets."""

import sys

import numpy as np
import pytest

from emotion import Prediction, Predictor
from emotion.corpora.qia2020 import EMOTIONS
from emotion.errors import UserError
from emotion.prediction.run import predict
from tests.media import noise, silence, tone, write_clip
from tests.prediction import (
    PLAIN,
    answers_of,
    make_checkpoint,
    options_of,
    probabilities_of,
    rows_of,
)
from tests.slim import slim


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    slim(monkeypatch)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two voices after half a second of silence, and a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for pitch in (300, 700):
        sound = np.concatenate([silence(0.5), tone(1.2, pitch) + noise(1.2)])
        write_clip(folder / f"{pitch}.wav", None, sound)
    (folder / "broken.wav").write_bytes(b"RIFF of nothing")
    return folder


@pytest.fixture
def weights(tmp_path):
    return make_checkpoint(tmp_path, "speech", features=PLAIN)


def test_a_file_gets_one_answer_which_is_that_of_the_script(clips, weights, tmp_path):
    predictor = Predictor(weights, device="cpu")
    answer = predictor.predict(clips / "300.wav")
    (row,) = answers_of(weights, tmp_path, input=[str(clips / "300.wav")], probabilities=True)
    assert isinstance(answer, Prediction)
    assert tuple(answer.probabilities) == predictor.class_names == EMOTIONS
    assert list(answer.probabilities.values()) == pytest.approx(probabilities_of(row), abs=1e-6)
    assert (
        answer.emotion == row["Emotion"] == max(answer.probabilities, key=answer.probabilities.get)
    )
    assert (answer.modalities, answer.reason) == (("speech",), "")
    assert (answer.start, answer.end) == (0.0, pytest.approx(1.7, abs=0.01))
    first, last = answer.intervals["speech"]  # what was heard begins after the silence
    assert 0.35 < first < 0.6
    assert 1.5 < last < 1.75


def test_a_folder_and_a_list_get_answers_in_order_and_what_is_broken_its_reason(clips, weights):
    predictor = Predictor(weights, device="cpu")
    answers = predictor.predict(clips)
    assert [answer.path for answer in answers] == sorted(clips.iterdir())
    broken = answers[-1]
    assert (broken.emotion, broken.probabilities, broken.modalities) == ("", {}, ())
    assert "not readable as media" in broken.reason
    turned = predictor.predict([clips / "700.wav", str(clips / "300.wav")])
    assert [answer.path for answer in turned] == [answers[1].path, answers[0].path]
    assert turned[0].probabilities == pytest.approx(answers[1].probabilities, abs=1e-5)
    with pytest.raises(UserError, match="no such file or folder"):
        predictor.predict(clips / "nothing.wav")


def test_a_timeline_has_an_answer_a_window_as_the_script_has(clips, weights, tmp_path):
    path = clips / "700.wav"
    answers = Predictor(weights, device="cpu").timeline(path, window=1.0, hop=0.5)
    flags = {"input": [str(path)], "timeline": True, "window": 1.0, "hop": 0.5}
    options = options_of(weights, tmp_path, **flags)
    assert predict(options) == 0
    rows = rows_of(options.output)
    assert [(a.start, a.end) for a in answers] == [
        (pytest.approx(float(row["start"]), abs=1e-3), pytest.approx(float(row["end"]), abs=1e-3))
        for row in rows
    ]
    assert [answer.emotion for answer in answers] == [row["Emotion"] for row in rows]
    for answer in answers:
        first, last = answer.intervals["speech"]
        assert answer.start <= first < last <= answer.end


def test_a_frame_where_pandas_is_there_and_a_line_where_it_is_not(clips, weights, monkeypatch):
    pytest.importorskip("pandas")
    answers = Predictor(weights, device="cpu").predict([clips / "300.wav", clips / "broken.wav"])
    frame = answers.to_frame()
    assert list(frame) == [
        "path",
        "emotion",
        "modalities",
        "start",
        "end",
        "intervals",
        "reason",
        *EMOTIONS,
    ]
    assert frame["emotion"].tolist() == [answers[0].emotion, ""]
    assert frame.loc[0, list(EMOTIONS)].sum() == pytest.approx(1.0)
    assert frame.loc[1, list(EMOTIONS)].isna().all()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="pip install pandas"):
        answers.to_frame()
