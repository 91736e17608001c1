"""``--video``: the clip with box, name and bars, its sound where it was."""

import numpy as np
import pytest

from emotion.corpora.qia2020 import EMOTIONS
from emotion.emotions import colours
from emotion.errors import UserError
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.video import probe, read_frames, read_waveform
from emotion.models.caption import captioned
from emotion.prediction.annotated import Painter, answer_at, box_at, check_video, write_video
from emotion.prediction.inputs import Item
from emotion.prediction.run import predict
from emotion.records import Clip, Labels
from tests.media import face_frame, noise, plain, tone, write_clip
from tests.prediction import PLAIN, make_checkpoint, options_of, rows_of
from tests.slim import slim


def item_of(path):
    return Item(Clip("clip", "clip", path, "input", None, Labels(), None))


def rgb(colour):
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])


def track(times, found, box=(20.0, 30.0, 80.0, 110.0)):
    times, found = np.array(times, np.float32), np.array(found)
    boxes = np.where(found[:, None], np.float32(box), np.float32(np.nan))
    return FaceTrack([], np.zeros(len(times), int), times, boxes, found.astype(np.float32), found)


SAD = np.eye(7)[[4, 4]] * 0.9 + 0.1 / 7


def test_sound_that_starts_late_stays_late(tmp_path):
    clip = write_clip(
        tmp_path / "in.mp4", [plain(90, 162, 122)] * 30, tone(1.0, 300), fps=15, sound_start=0.7
    )
    write_video(tmp_path / "out.mp4", item_of(clip), None, (np.array([0.0, 2.0]), SAD), EMOTIONS)
    before, after = read_waveform(clip), read_waveform(tmp_path / "out.mp4")
    loud = [np.flatnonzero(np.abs(sound) > 0.2)[0] / 16_000 for sound in (before, after)]
    assert loud == pytest.approx([0.7, 0.7], abs=0.03)
    length = min(len(before), len(after))
    assert np.corrcoef(before[:length], after[:length])[0, 1] > 0.95
    assert probe(tmp_path / "out.mp4").duration == pytest.approx(2.0, abs=0.1)


def test_a_clip_without_sound_stays_so_and_shows_its_bars(tmp_path):
    clip = write_clip(tmp_path / "in.mp4", [plain(90)] * 10, None, fps=10)
    answers = np.array([0.0, 1.0]), SAD
    faces = track([0.0, 0.1, 0.2, 0.9], [True, True, True, False])
    write_video(tmp_path / "out.mp4", item_of(clip), faces, answers, EMOTIONS)
    assert not probe(tmp_path / "out.mp4").has_audio
    early, late = read_frames(tmp_path / "out.mp4", np.array([0.1, 0.8]))
    assert early.shape == (360, 480 + 180, 3)
    sad = rgb(colours(EMOTIONS)[EMOTIONS.index("sad")])
    left = [np.abs(frame[:, :480].astype(int) - sad).sum(axis=2) < 60 for frame in (early, late)]
    assert left[0].sum() > 100  # box and name
    assert not left[1].any()  # nobody is there any more
    right = np.abs(late[:, 480:].astype(int) - sad).sum(axis=2) < 60
    assert right.any(axis=0).sum() > 100  # a bar of 91 %


def test_boxes_move_between_sampled_times_and_end_with_the_face():
    faces = track([0.0, 0.1, 0.2], [True, True, False])._replace(
        box=np.float32([[0, 0, 10, 10], [10, 0, 20, 10], [np.nan] * 4])
    )
    assert box_at(faces, 0.05) == pytest.approx([5, 0, 15, 10])
    assert box_at(faces, 0.25) == pytest.approx([10, 0, 20, 10])
    assert box_at(faces, 0.5) is None
    assert box_at(track([0.0], [False]), 0.0) is None


def test_an_open_answer_says_so():
    times = np.array([0.0, 1.0, 2.0])
    shares = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, np.nan]])
    assert answer_at((times, shares), 0.25).tolist() == [0.75, 0.25]
    assert answer_at((times, shares), 1.0).tolist() == [0.0, 1.0]
    assert np.isnan(answer_at((times, shares), 1.5)).all()
    picture = plain(0, 100, 81)
    painted = Painter(81, 100, ("hap", "sad")).paint(picture, None, shares[2])
    assert [length % 2 for length in painted.shape[:2]] == [0, 0]
    assert (painted[:360, :444] == 0).all()
    assert np.ptp(painted[20:60, 446:].astype(int), axis=2).max() == 0  # nobody's colour
    assert painted[20:60, 446:].min() < 100  # but words


def test_the_line_of_a_generated_corpus_stands_in_the_film():
    picture, none = plain(0, 200, 120), np.full(2, np.nan)
    plainly = Painter(120, 200, ("hap", "sad")).paint(picture, None, none)
    with captioned("trained on generated clips: no knowledge of people"):
        told = Painter(120, 200, ("hap", "sad")).paint(picture, None, none)
    changed = np.abs(told.astype(int) - plainly).sum(axis=2) > 60
    assert not changed[:, :600].any()
    assert changed[280:, 600:].sum() > 200
    assert not changed[:240].any()


def test_what_is_no_film_is_refused_at_once(tmp_path):
    sound = item_of(write_clip(tmp_path / "voice.wav", None, tone(0.5)))
    for path, items, reason in (
        ("out.avi", [sound], r"--video out\.avi: is written as mp4"),
        ("out.mp4", [sound, sound], "shows one clip, --input has 2"),
        ("out.mp4", [sound], r"voice\.wav: has no pictures"),
    ):
        with pytest.raises(UserError, match=reason):
            check_video(path, items)


def test_the_flag_brings_film_picture_and_table(tmp_path, capsys, monkeypatch):
    slim(monkeypatch)
    clip = write_clip(tmp_path / "clip.mp4", [face_frame()] * 15, noise(1.4), fps=10)
    weights = make_checkpoint(
        tmp_path, "face", features=PLAIN, face_model="resnet3d", face_frames=4, face_size=32
    )
    options = options_of(
        weights, tmp_path, input=[str(clip)], video=str(tmp_path / "out.mp4"), window=1.0, hop=0.5
    )
    assert predict(options) == 0
    assert len(rows_of(options.output)) == 2
    assert (tmp_path / "answers_clip.png").is_file()
    found = probe(tmp_path / "out.mp4")
    assert found.has_audio
    assert found.duration == pytest.approx(1.5, abs=0.1)
    (frame,) = read_frames(tmp_path / "out.mp4", np.array([0.5]))
    emotion = rows_of(options.output)[0]["Emotion"]
    shade = rgb(colours(EMOTIONS)[EMOTIONS.index(emotion)])
    near = np.abs(frame[:, :480].astype(int) - shade).sum(axis=2) < 60
    assert near.sum() > 100
    assert "out.mp4: " in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--video .* is one of the inputs"):
        predict(options_of(weights, tmp_path, input=[str(clip)], video=str(clip)))
