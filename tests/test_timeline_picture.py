"""What is drawn of a timeline: the answer, the sound or why there is none, faces side by side."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from emotion.corpora.qia2020 import EMOTIONS
from emotion.emotions import colours
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.media import Media
from emotion.prediction import plots
from emotion.prediction.plots import NO_TRACK, SILENT, Scene, draw_timeline
from emotion.prediction.predictor import Answer
from emotion.prediction.recording import Recording, Span
from emotion.prediction.scenes import scene_of_recording
from emotion.prediction.timeline import Timeline, overall
from emotion.records import Clip, Labels
from tests.features import face_track
from tests.media import plain, silence, tone, write_clip


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws a scene with two answers; gives the figure."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, _: figures.append(figure))

    def draw(scene):
        answers = np.eye(7)[[0, 1]] * 0.4 + 0.6 / 7
        times, told = np.array([0.0, scene.duration]), {"answer": "happiness, 49 %", "title": "x"}
        draw_timeline(scene, times, answers, EMOTIONS, **told, path=tmp_path / "x.png")
        figures[-1].draw_without_rendering()
        return figures[-1]

    return draw


def texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def read(path):
    clip = Clip("clip", "clip", path, "test", None, Labels(), None)
    return scene_of_recording(Recording(Media(clip), {}, SimpleNamespace(features={})))


def test_silence_is_no_missing_sound_track(drawn, tmp_path):
    frames = [plain(64, 48, 90)] * 10
    none = read(write_clip(tmp_path / "none.mp4", frames, None, fps=10))
    silent = read(write_clip(tmp_path / "silent.mp4", frames, silence(1.0), fps=10))
    heard = read(write_clip(tmp_path / "heard.mp4", frames, tone(1.0, 300), fps=10))
    assert none.sound is None
    assert NO_TRACK in texts(drawn(none))
    assert SILENT in texts(drawn(silent))
    assert not {NO_TRACK, SILENT} & set(texts(drawn(heard)))


@pytest.mark.parametrize(("frames", "duration"), [(400, 6.8), (400, 80.0), (12, 0.6)])
def test_faces_never_overlap(drawn, frames, duration):
    """Many in a short clip, close together in a long one, one alone."""
    track = face_track(0, frames, 0.0, np.random.default_rng(0))
    figure = drawn(Scene(duration, 0.0, None, None, track))
    axis = next(axis for axis in figure.axes if axis.get_ylabel() == "face")
    boxes = [artist.get_window_extent() for artist in axis.artists]
    assert boxes
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
    assert axis.bbox.x0 <= boxes[0].x0 + 1


def test_where_no_model_looks_for_faces_there_is_no_row_of_them(drawn):
    for looked in (True, False):
        figure = drawn(Scene(3.0, 0.0, None, None, None, looked=looked))
        assert ("face" in [axis.get_ylabel() for axis in figure.axes]) == looked
        assert ("no face" in texts(figure)) == looked


def test_a_face_alone_at_the_end_stays_inside(drawn):
    track = face_track(0, 40, 0.0, np.random.default_rng(0))
    rows = {name: getattr(track, name)[-1:] for name in FaceTrack._fields if name != "jpeg"}
    figure = drawn(Scene(6.0, 0.0, None, None, FaceTrack(track.jpeg, **rows).shifted(5.5)))
    axis = next(axis for axis in figure.axes if axis.get_ylabel() == "face")
    (box,) = [artist.get_window_extent() for artist in axis.artists]
    assert box.x1 <= axis.bbox.x1 + 1


def test_bands_have_the_names_and_colours_of_their_emotions(drawn):
    figure = drawn(Scene(3.0, 0.0, None, None, None))
    legend = figure.axes[-1].get_legend()
    found = {
        text.get_text(): handle.get_facecolor()
        for text, handle in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }
    wanted = plots.full_names(EMOTIONS)
    assert list(found) == wanted[::-1]
    for name, colour in zip(wanted, colours(EMOTIONS), strict=True):
        code = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        assert found[name][:3] == pytest.approx(code, abs=0.01)
    assert figure.get_suptitle() == "happiness, 49 %"


def test_longer_windows_count_more_and_open_ones_not_at_all():
    shares = np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]])
    answers = [Answer(None, None, row, row[None], {}, []) for row in shares]
    spans = [Span(0.0, 1.0), Span(1.0, 5.0), Span(5.0, 9.0)]
    assert overall(Timeline(None, spans, answers), ("hap", "sad")) == "sadness, 66 %"
