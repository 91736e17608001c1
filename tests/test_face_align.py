"""--align: crops with the eyes level and at fixed places."""

import json

import cv2
import numpy as np
import pytest
from facenet_pytorch import MTCNN

from emotion.clock import CROP_SIZE
from emotion.errors import UserError
from emotion.inputs.faces import (
    EYES_APART,
    EYES_AT,
    LEAST_APART,
    Detection,
    FaceDetector,
    aligned_face,
    crop_face,
    track_faces,
)
from emotion.inputs.store import FeatureStore
from emotion.preprocessing.run import preprocess
from tests.media import paste_portrait, plain, write_clip
from tests.prediction import PLAIN, answers_of, make_checkpoint
from tests.preprocessing.clips import NORMAL, VOICE, faces, options, stored
from tests.slim import slim

WANTED = CROP_SIZE * (np.array(EYES_AT) + EYES_APART / 2 * np.array([[-1, 0], [1, 0]]))
DOTS = ((250, 40, 40), (40, 40, 250))  # red where the left eye is, blue where the right one is


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


def drawn(middle, apart, degrees, width=900, height=700):
    """A frame with a dot for each eye, and the face that a detector would have found there."""
    turn = np.radians(degrees)
    half = apart / 2 * np.array([np.cos(turn), np.sin(turn)])
    eyes = np.array([middle - half, middle + half], np.float32)
    frame = plain(128, width, height)
    for eye, colour in zip(eyes, DOTS, strict=True):
        cv2.circle(frame, eye.round().astype(int).tolist(), round(apart / 8), colour, -1)
    half_box = 1.5 * apart  # the eyes of a face that looks ahead are a third of its box apart
    box = np.concatenate([middle - half_box, middle + half_box]).astype(np.float32)
    return frame, Detection(box, 0.99, eyes)


def dots(crop):
    """Where the two dots are: (2, 2) pixels x, y."""
    near = [np.abs(crop.astype(int) - colour).sum(axis=2) < 150 for colour in DOTS]
    return np.array([np.argwhere(one).mean(axis=0)[::-1] for one in near])


@pytest.mark.parametrize("degrees", [-40, -15, 0, 25])
@pytest.mark.parametrize("apart", [30, 120])
def test_the_eyes_are_level_and_at_their_places(degrees, apart):
    frame, face = drawn(np.array([420.0, 350.0]), apart, degrees)
    crop = aligned_face(frame, face)
    assert crop.shape == (CROP_SIZE, CROP_SIZE, 3)
    np.testing.assert_allclose(dots(crop), WANTED, atol=2.0)
    if degrees:
        assert np.abs(dots(crop_face(frame, face.box)) - WANTED).max() > 4.0


def test_over_the_edge_of_the_frame_its_edge_is_repeated():
    frame, face = drawn(np.array([40.0, 30.0]), 60, 10)
    crop = aligned_face(frame, face)
    np.testing.assert_allclose(dots(crop), WANTED, atol=2.0)
    assert crop.min() > 20  # never black


def test_of_a_head_that_is_turned_away_all_is_shown_and_it_is_not_tipped_over():
    frame, face = drawn(np.array([420.0, 350.0]), 20, 60)  # the eyes are close and hard to tell
    wide = face._replace(box=np.array([320, 250, 520, 450], np.float32))
    left, right = dots(aligned_face(frame, wide))
    assert np.linalg.norm(right - left) < EYES_APART * CROP_SIZE * 20 / (LEAST_APART * 200) + 2
    tipped = np.degrees(np.arctan2(*(right - left)[::-1]))
    assert tipped > 40  # it was turned by less than 20 of the 60


def test_a_face_without_known_eyes_is_cropped_as_ever():
    frame, face = drawn(np.array([420.0, 350.0]), 60, 20)
    unknown = Detection(face.box, face.probability)
    np.testing.assert_array_equal(aligned_face(frame, unknown), crop_face(frame, face.box))


def test_eyes_at_one_place_are_no_reason_to_crash():
    frame, face = drawn(np.array([420.0, 350.0]), 60, 0)
    for eyes in (np.full((2, 2), 300, np.float32), face.eyes[::-1]):
        for box in (face.box, np.full(4, 300, np.float32)):
            crop = aligned_face(frame, Detection(box, 0.99, eyes))
            assert crop.shape == (CROP_SIZE, CROP_SIZE, 3)


# -- with the real detector ----------------------------------------------------------------------


def tilted(degrees, height=640):
    frame = paste_portrait(plain(90, 900, 700), 220, 30, height)
    turn = cv2.getRotationMatrix2D((450, 350), degrees, 0.8)
    return cv2.warpAffine(frame, turn, (900, 700), borderMode=cv2.BORDER_REPLICATE)


def test_the_eyes_are_those_of_facenet_pytorch(detector):
    frame = cv2.resize(tilted(10), (450, 350), interpolation=cv2.INTER_AREA)
    boxes, _, points = MTCNN(min_face_size=40).detect(frame, landmarks=True)
    found = detector.network.detect(frame, 40)
    assert len(found.eyes) == len(boxes) == 1
    width = float(boxes[0][2] - boxes[0][0])
    np.testing.assert_allclose(found.eyes[0], points[0][:2].astype(float), atol=0.05 * width)


@pytest.mark.parametrize("degrees", [-25, 25])
def test_a_tilted_face_is_upright_in_its_crop(detector, degrees):
    frame = tilted(degrees)
    angles = {}
    for align in (False, True):
        track = track_faces(np.array([0.0]), [frame], detector, align=align)
        seen = detector.detect(cv2.copyMakeBorder(track.decode()[0], *[80] * 4, 1))
        across, down = seen.eyes[1] - seen.eyes[0]
        angles[align] = abs(np.degrees(np.arctan2(down, across)))
    assert angles[False] > 18
    assert angles[True] < 6


def test_eyes_between_two_detections_move_with_time():
    places = {number: np.array([200.0 + 30 * number, 300.0]) for number in range(4)}
    drawings = {number: drawn(place, 60, 10.0 * number) for number, place in places.items()}

    class AtTheEnds:
        def detect(self, frame, previous=None):
            return next(face for shown, face in drawings.values() if shown is frame)

    frames = [frame for frame, _ in drawings.values()]
    track = track_faces(np.arange(4.0), frames, AtTheEnds(), 3, align=True)
    for crop in track.decode():
        np.testing.assert_allclose(dots(crop), WANTED, atol=3.0)


# -- in a folder of features ---------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "corpus" / "train").mkdir(parents=True)
    write_clip(tmp_path / "corpus" / "train" / f"{NORMAL}.mp4", faces(), VOICE, fps=10)
    return tmp_path / "corpus"


def test_the_setting_is_kept_and_another_refused(corpus, tmp_path):
    aligned, plainly = (FeatureStore(tmp_path / name) for name in ("aligned", "plain"))
    assert preprocess(options(corpus, aligned.root, align=True)) == 0
    assert preprocess(options(corpus, plainly.root)) == 0
    one, other = (stored(store, NORMAL).read("video") for store in (aligned, plainly))
    np.testing.assert_array_equal(one.box, other.box)
    assert one.jpeg != other.jpeg
    assert aligned.read_description()["settings"]["face_align"] is True
    with pytest.raises(UserError, match="made with face_align True, now it is False"):
        preprocess(options(corpus, aligned.root))


def test_a_folder_of_an_earlier_version_is_one_that_is_not_aligned(corpus, tmp_path):
    store = FeatureStore(tmp_path / "features")
    assert preprocess(options(corpus, store.root)) == 0
    path = store.root / "features.json"
    content = json.loads(path.read_text())
    del content["settings"]["face_align"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="made with face_align None, now it is True"):
        preprocess(options(corpus, store.root, align=True))
    assert preprocess(options(corpus, store.root)) == 0
    assert store.read_description()["settings"]["face_align"] is False


def test_a_model_is_shown_crops_as_it_was_trained_on(corpus, tmp_path, monkeypatch):
    slim(monkeypatch)
    store = FeatureStore(tmp_path / "features")
    assert preprocess(options(corpus, store.root, align=True)) == 0
    flags = {"face_model": "resnet3d", "face_size": 32}
    weights = make_checkpoint(tmp_path, "face", features=PLAIN | {"face_align": True}, **flags)
    given = {"probabilities": True}
    (of_file,) = answers_of(
        weights, tmp_path, input=[str(corpus / "train" / f"{NORMAL}.mp4")], **given
    )
    (of_features,) = answers_of(
        weights, tmp_path, features_dir=str(store.root), split="train", **given
    )
    assert float(of_file["hap"]) == pytest.approx(float(of_features["hap"]), abs=0.02)
    weights = make_checkpoint(tmp_path, "face", seed=1, features=PLAIN, **flags)
    with pytest.raises(UserError, match="made with face_align True"):
        answers_of(weights, tmp_path, features_dir=str(store.root), split="train")
