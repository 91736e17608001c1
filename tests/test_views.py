"""Views of a clip at test time."""

import numpy as np
import pytest

from emotion.data.samples import Sample
from emotion.inputs.feature import Steps
from emotion.prediction.views import views_of
from tests.recipes import recipe_of


def sample_of(face=None, frames=100, words=0):
    """A clip of spectrogram frames, of faces within its first 1.5 s, and of words."""
    values = {}
    if frames:
        generator = np.random.default_rng(0)
        values["speech"] = generator.random((frames, 128)).astype(np.float32), 0.016
    if face is not None:
        values["face"] = face, 1.5 / max(len(face) - 1, 1)
    if words:
        values["text"] = np.ones((words, 4), np.float32), np.nan
    steps = {
        name: Steps(v, np.ones(len(v), bool), (np.arange(len(v)) * apart).astype(np.float32))
        for name, (v, apart) in values.items()
    }
    return Sample("clip", (-1, -1, -1), steps, frames * 0.016)


def views(sample, count, width, **flags):
    recipe = recipe_of("multimodal", modalities=tuple(sample.steps), speech_frames=width, **flags)
    return views_of(sample, recipe, count)


CROPS = {"face_model": "resnet3d"}


def test_views_mirror_faces_left_to_right_and_crop_the_speech():
    faces = np.random.default_rng(1).integers(256, size=(6, 3, 8, 8)).astype(np.uint8)
    sample = sample_of(faces)
    plain_view, mirrored, last = views(sample, 3, 80, **CROPS)
    assert plain_view is sample
    shown = mirrored.steps["face"].values
    np.testing.assert_array_equal(shown, faces[..., ::-1])  # columns, never rows
    np.testing.assert_array_equal(last.steps["face"].values, faces)
    whole = sample.steps["speech"].values
    np.testing.assert_array_equal(mirrored.steps["speech"].values, whole[:80])
    np.testing.assert_array_equal(last.steps["speech"].values, whole[20:])
    wanted = sample.steps["face"].time - 20 * 0.016
    np.testing.assert_allclose(last.steps["face"].time, wanted, atol=1e-6)
    np.testing.assert_allclose(last.steps["speech"].time[0], 0.0, atol=1e-6)
    assert last.duration == pytest.approx(80 * 0.016)
    assert not last.steps["face"].mask[0]
    assert last.steps["face"].mask[2:].all()


def test_words_that_have_no_time_stay_in_every_view():
    view = views(sample_of(words=3), 3, 80, text_dim=4)[2]
    assert view.steps["text"].mask.all()


def test_views_that_would_be_the_same_are_not_made():
    assert len(views(sample_of(frames=0, words=3), 5, 32, text_dim=4)) == 1
    embedded = sample_of(np.ones((4, 512), np.float16), frames=0)
    assert len(views(embedded, 5, 32)) == 1
    crops = sample_of(np.zeros((4, 3, 8, 8), np.uint8), frames=0)
    assert len(views(crops, 5, 32, **CROPS)) == 2
    assert len(views(sample_of(frames=64), 5, 64)) == 1  # no longer than training's crops
    assert len(views(sample_of(frames=65), 5, 64)) == 5


def test_a_face_that_a_crop_would_lose_is_kept():
    early = sample_of(np.zeros((1, 3, 8, 8), np.uint8))
    assert views(early, 3, 80, **CROPS)[2].steps["face"].mask.all()
