"""Views of a clip at test time."""

import numpy as np

from emotion.data.dataset import Sample
from emotion.prediction.views import views_of


def sample_of(face=None, frames=100, **fields):
    generator = np.random.default_rng(0)
    count = 0 if face is None else len(face)
    values = {
        "id": "clip",
        "targets": (-1, -1, -1),
        "speech": generator.random((128, frames)).astype(np.float32) if frames else None,
        "speech_present": True,
        "face": face,
        "face_mask": np.ones(count, bool),
        "face_time": np.linspace(0.0, 1.5, count, dtype=np.float32),
        "text": None,
    }
    return Sample(**{**values, **fields})


def test_views_mirror_faces_left_to_right_and_crop_the_speech():
    faces = np.random.default_rng(1).integers(256, size=(6, 3, 8, 8)).astype(np.uint8)
    sample = sample_of(faces)
    plain_view, mirrored, last = views_of(sample, 3, 80)
    assert plain_view is sample
    np.testing.assert_array_equal(mirrored.face, faces[..., ::-1])  # columns, never rows
    np.testing.assert_array_equal(last.face, faces)
    np.testing.assert_array_equal(mirrored.speech, sample.speech[:, :80])
    np.testing.assert_array_equal(last.speech, sample.speech[:, 20:])
    np.testing.assert_allclose(last.face_time, sample.face_time - 20 * 0.016, atol=1e-6)
    assert not last.face_mask[0]
    assert last.face_mask[2:].all()


def test_views_that_would_be_the_same_are_not_made():
    words = sample_of(frames=0, text=np.ones((3, 4), np.float32))
    assert len(views_of(words, 5, 32)) == 1
    embedded = sample_of(np.ones((4, 512), np.float16), frames=0)
    assert len(views_of(embedded, 5, 32)) == 1
    crops = sample_of(np.zeros((4, 3, 8, 8), np.uint8), frames=0)
    assert len(views_of(crops, 5, 32)) == 2
    assert len(views_of(sample_of(frames=64), 5, 64)) == 1  # no longer than training's crops
    assert len(views_of(sample_of(frames=65), 5, 64)) == 5


def test_a_face_that_a_crop_would_lose_is_kept():
    early = sample_of(np.zeros((1, 3, 8, 8), np.uint8))
    assert views_of(early, 3, 80)[2].face_mask.all()
