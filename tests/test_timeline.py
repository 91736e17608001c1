"""Answers over time: windows of a longer recording."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from emotion.corpora.qia2020 import EMOTIONS
from emotion.errors import UserError
from emotion.inputs.extraction import Extractor
from emotion.prediction.recording import Span, read_recording, spans_of
from emotion.prediction.run import predict
from emotion.prediction.scenes import envelope
from emotion.records import Clip, Labels
from tests.features import make_features
from tests.media import face_frame, noise, plain, silence, tone, write_clip
from tests.prediction import (
    PLAIN,
    TEXT_DIM,
    make_checkpoint,
    options_of,
    probabilities_of,
    rows_of,
)
from tests.slim import slim

FEATURES = ("speech", "video")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """6 s: a face for 3 s and then nobody; a voice, a pause of 2 s, another voice."""
    path = tmp_path_factory.mktemp("media") / "long.mp4"
    frames = [face_frame()] * 30 + [plain(90, 240, 180)] * 30
    sound = [tone(2.0, 300), silence(2.0), noise(2.0, amplitude=0.3)]
    return write_clip(path, frames, np.concatenate(sound), fps=10)


@pytest.fixture(scope="module")
def read(recording):
    clip = Clip("long", "long", recording, "test", None, Labels(), None)
    return read_recording(clip, Extractor(PLAIN, None, features=FEATURES))


def test_windows_cover_the_recording():
    assert spans_of(2.5, 4.0, 1.0) == [(0.0, 2.5)]
    assert spans_of(6.5, 4.0, 1.0) == [(0.0, 4.0), (1.0, 5.0), (2.0, 6.0), (2.5, 6.5)]
    assert [round(s.start, 1) for s in spans_of(0.8, 0.5, 0.1)] == [0.0, 0.1, 0.2, 0.3]
    spans = spans_of(601.3, 4.0, 1.0)
    assert spans[-1].end == pytest.approx(601.3)
    assert len(spans) == 599
    assert max(b.start - a.start for a, b in pairwise(spans)) == 1.0


def test_a_window_over_all_of_it_is_the_clip(recording, read):
    """What a window shows a model is what preprocessing would have made of it."""
    clip = Clip("long", "long", recording, "test", None, Labels(), None)
    whole = Extractor(PLAIN, None, features=FEATURES).extract(clip)
    window = read.window(Span(0.0, read.media.duration))
    np.testing.assert_array_equal(window.read("speech"), whole.values["speech"])
    for name in ("start", "end", "frames", "peak_db", "face_frames", "face_coverage"):
        assert window.record.fact(name) == pytest.approx(whole.facts[name])
    assert window.record.states == whole.states


def test_faces_of_a_window_are_those_of_its_time_whoever_speaks_when(read):
    track = read.window(Span(2.5, 5.5)).read("video")
    assert 0 <= track.time.min() < track.time.max() < 3.0
    assert track.found[track.time < 0.3].all()
    assert not track.found[track.time > 0.7].any()
    assert track.decode().shape == (len(track.time), 160, 160, 3)  # nobody repeats somebody
    assert read.window(Span(3.5, 5.5)).record.state("video") == "no_face"


class Embedder:
    """In place of VGG-Face."""

    def embed(self, crops):
        return np.ones((len(crops), 4), np.float16)


def test_a_face_too_rare_for_a_recording_is_embedded_in_its_window(tmp_path):
    face = face_frame()
    film = [face if 50 <= number < 60 else np.zeros_like(face) for number in range(200)]
    path = write_clip(tmp_path / "long.mp4", film, None, fps=5)
    settings = {"face_stride": 8, "face_clock": "clip", "face_align": False, "vggface": "x"}
    extractor = Extractor(settings, None, features=["video", "embedding"])
    extractor._tools["embedding"] = Embedder()
    clip = Clip("long", "long", path, "input", None, Labels(), None)
    found = read_recording(clip, extractor)
    assert 0 < found.values["video"].found.mean() < 0.1
    assert found.window(Span(10.0, 12.0)).record.states == {"video": "ok", "embedding": "ok"}
    assert found.window(Span(20.0, 22.0)).record.state("embedding") != "ok"


def test_a_pause_holds_no_speech(read):
    assert read.window(Span(2.3, 3.7)).record.state("speech") == "silent"
    assert read.window(Span(4.0, 6.0)).record.state("speech") == "ok"


def test_an_answer_every_hop_and_a_picture(recording, tmp_path, monkeypatch, capsys):
    slim(monkeypatch)
    weights = make_checkpoint(
        tmp_path, "multimodal", features=PLAIN, face_model="resnet3d", face_frames=4, face_size=32
    )
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    options = options_of(
        weights, tmp_path, input=[str(recording), str(broken)], timeline=True, window=2.0, hop=0.5
    )
    assert predict(options) == 0
    rows = rows_of(options.output)
    assert [float(row["start"]) for row in rows[:3]] == [0.0, 0.5, 1.0]
    assert [float(row["end"]) - float(row["start"]) for row in rows[:-1]] == pytest.approx(
        [2.0] * (len(rows) - 1)
    )
    for row in rows[:-1]:
        assert sum(probabilities_of(row)) == pytest.approx(1.0, abs=1e-6)
        assert row["Emotion"] == EMOTIONS[int(np.argmax(probabilities_of(row)))]
    assert rows[0]["modalities"] == "speech face"
    assert rows[-2]["modalities"] == "speech"
    assert set(rows[-1].values()) == {"broken", ""}
    assert "broken.mp4: not readable as media" in capsys.readouterr().err
    picture = cv2.imread(str(tmp_path / "answers_long.png"))
    assert picture.shape[1] > 1000
    assert picture.std() > 20


def test_what_has_no_time_is_refused(recording, tmp_path):
    weights = make_checkpoint(tmp_path, "text", features=PLAIN)
    with pytest.raises(UserError, match="words carry no times"):
        predict(options_of(weights, tmp_path, input=[str(recording)], timeline=True))
    make_features(tmp_path / "features", clips={"test": 2}, text_dim=TEXT_DIM)
    face = make_checkpoint(tmp_path, "face")
    flags = {"features_dir": str(tmp_path / "features"), "split": "test", "timeline": True}
    with pytest.raises(UserError, match="wants media files; test000 is a clip of features/"):
        predict(options_of(face, tmp_path, **flags))


def test_an_envelope_holds_the_extremes():
    waveform = np.sin(np.arange(100_000) / 37.0)
    waveform[61_234] = 5.0
    low, high = envelope(waveform)
    assert (low.min(), high.max()) == (waveform.min(), 5.0)
    assert envelope(np.array([0.5, -0.5])).tolist() == [[0.5, -0.5], [0.5, -0.5]]
