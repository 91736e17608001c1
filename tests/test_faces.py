"""One face a time: detection, tracking between detections, crops, JPEG."""

import cv2
import numpy as np
import pytest
from facenet_pytorch import MTCNN

from emotion.inputs.faces import (
    CROP_SIZE,
    MOST_LOOKS,
    Detection,
    FaceDetector,
    choose_face,
    crop_face,
    overlap,
    track_faces,
)
from emotion.inputs.mtcnn import _suppress_nested
from tests.media import face_box, paste_portrait, plain

GREY = plain(90, width=320, height=200)
SMALL, LARGE = 130, 190  # heights of the portrait
LEFT, RIGHT = (0, 0, SMALL), (150, 0, LARGE)  # places: left, top, height


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


def with_faces(*places):
    frame = GREY
    for place in places:
        frame = paste_portrait(frame, *place)
    return frame


def track(frames, detector, detect_every=3):
    times = 1.0 + 0.128 * np.arange(len(frames))
    return track_faces(times, iter(frames), detector, detect_every)


class Counted:
    """A detector that knows where the face of each frame is, by the identity of the frame."""

    def __init__(self, boxes):
        self.boxes, self.asked = boxes, []

    def detect(self, frame, previous=None):
        number = int(frame[0, 0, 0])
        self.asked.append(number)
        box = self.boxes.get(number)
        return None if box is None else Detection(np.array(box, np.float32), 0.99)


def moving_box(number):
    return (20 + 4 * number, 30, 70 + 4 * number, 90)


# -- detection -----------------------------------------------------------------------------------


def test_the_box_lies_on_the_face(detector):
    found = detector.detect(with_faces(RIGHT))
    assert found.probability >= 0.95
    assert overlap(found.box, face_box(*RIGHT)) > 0.8


def test_boxes_are_in_pixels_of_the_full_frame(detector):
    frame = paste_portrait(plain(90, width=1280, height=720), 600, 60, 600)
    found = detector.detect(frame)
    assert overlap(found.box, face_box(600, 60, 600)) > 0.8


def test_the_largest_of_two_faces_is_taken_then_the_nearest_to_the_track(detector):
    frame = with_faces(LEFT, RIGHT)
    largest = detector.detect(frame)
    assert overlap(largest.box, face_box(*RIGHT)) > 0.7
    nearest = detector.detect(frame, previous=Detection(face_box(*LEFT), 0.99))
    assert overlap(nearest.box, face_box(*LEFT)) > 0.7


def test_no_face_is_found_in_a_plain_frame(detector):
    assert detector.detect(GREY) is None


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 400, 3), (39, 400, 3), (720, 1, 3)])
def test_tiny_frames_hold_no_face_and_do_not_crash(detector, shape):
    assert detector.detect(np.zeros(shape, np.uint8)) is None


def test_unsure_faces_are_not_taken_whatever_their_size():
    boxes = np.array([[0, 0, 100, 100], [50, 50, 90, 90]], np.float32)
    assert choose_face(boxes, np.array([0.94, 0.9], np.float32), None) is None
    chosen = choose_face(boxes, np.array([0.94, 0.96], np.float32), None)
    np.testing.assert_array_equal(chosen.box, boxes[1])


def test_detection_is_that_of_facenet_pytorch(detector):
    """Windows are resized by another library; all else is the same."""
    frame = with_faces(LEFT, RIGHT)
    theirs, sure = MTCNN(keep_all=True, min_face_size=40).detect(frame)
    boxes, probabilities, _ = detector.network.detect(frame, 40)
    assert len(boxes) == len(theirs) == 2
    for box, probability in zip(theirs, sure, strict=True):
        overlaps = [overlap(np.asarray(box, np.float32), own) for own in boxes]
        assert max(overlaps) > 0.85
        assert probabilities[np.argmax(overlaps)] == pytest.approx(probability, abs=0.02)


def test_a_face_inside_a_face_is_none_and_the_surest_comes_first():
    boxes = np.array([[0, 0, 99, 99], [20, 20, 59, 59], [200, 0, 299, 99]], np.float32)
    kept = _suppress_nested(boxes, np.array([0.9, 0.8, 0.95], np.float32), 0.7)
    assert kept.tolist() == [2, 0]
    assert _suppress_nested(boxes[:0], np.zeros(0, np.float32), 0.7).tolist() == []


@pytest.fixture
def work(detector, monkeypatch):
    """What the detector does: ``look``, or the longer side of a picture that is searched."""
    done, network = [], detector.network
    look, search = network.look, network.detect
    monkeypatch.setattr(network, "look", lambda *given: done.append("look") or look(*given))
    monkeypatch.setattr(
        network, "detect", lambda *given: done.append(max(given[0].shape)) or search(*given)
    )
    return done


def test_a_face_that_hardly_moves_is_looked_at_and_now_and_then_searched_for(detector, work):
    frames = [paste_portrait(plain(90, 1280, 720), 400 + 4 * step, 60, 600) for step in range(18)]
    face = detector.detect(frames[0])
    assert work == [640]
    looks = []
    for step, frame in enumerate(frames[1:], start=1):
        face = detector.detect(frame, face)
        looks.append(face.looks)
        assert overlap(face.box, face_box(400 + 4 * step, 60, 600)) > 0.8
    assert looks == [*range(1, MOST_LOOKS + 1), 0, 1]
    assert work[1:] == ["look"] * MOST_LOOKS + [160, "look"]


def test_a_look_sees_the_eyes_where_a_search_sees_them(detector, work):
    frame = paste_portrait(plain(90, 1280, 720), 400, 60, 600)
    searched = detector.detect(frame)
    seen = detector.detect(frame, searched)
    assert work == [640, "look"]
    np.testing.assert_allclose(seen.eyes, searched.eyes, atol=0.05 * 200)


def test_a_face_that_moved_is_searched_for_around_its_place_and_then_anywhere(detector, work):
    large = (0, 0, 200)
    box = face_box(*large)
    near = detector.detect(with_faces(large), Detection(box + 18, 0.99))
    assert overlap(near.box, box) > 0.8
    assert work[0] == "look"
    assert work[1] < 200  # of 320
    assert len(work) == 2
    work.clear()
    far = detector.detect(with_faces(RIGHT), Detection(box - 40, 0.99))
    assert overlap(far.box, face_box(*RIGHT)) > 0.8
    assert work[-1] == 320  # all of it


@pytest.mark.parametrize("width", [50, 300])
def test_where_a_face_was_and_is_no_more_none_is_seen(detector, width):
    frame = plain(90, width=640, height=480)
    frame[::7, ::5] = 160  # something
    assert detector.detect(frame, Detection(np.float32([40, 40, 40 + width, 400]), 0.99)) is None


def test_a_region_wholly_outside_the_frame_is_no_reason_to_crash(detector):
    outside = Detection(np.array([900, 900, 960, 960], np.float32), 0.99)
    assert overlap(detector.detect(with_faces(RIGHT), outside).box, face_box(*RIGHT)) > 0.8


# -- tracks --------------------------------------------------------------------------------------


def test_every_time_has_one_row_even_with_two_faces_in_the_frame(detector):
    frames = [with_faces(LEFT, RIGHT)] * 5
    faces = track(frames, detector)
    assert faces.found.all()
    assert len(faces.jpeg) == len(faces.time) == len(faces.box) == len(faces.crop) == 5
    assert all(overlap(box, face_box(*RIGHT)) > 0.7 for box in faces.box)


def test_the_track_stays_with_its_face_when_a_larger_one_appears(detector):
    frames = [with_faces(LEFT)] * 2 + [with_faces(LEFT, RIGHT)] * 4
    faces = track(frames, detector)
    assert all(overlap(box, face_box(*LEFT)) > 0.7 for box in faces.box)


def test_boxes_between_detections_are_interpolated_by_time():
    frames = [plain(number) for number in range(7)]
    detector = Counted({number: moving_box(number) for number in (0, 3, 6)})
    faces = track(frames, detector)
    assert detector.asked == [0, 3, 6]
    np.testing.assert_allclose(faces.box, [moving_box(number) for number in range(7)], atol=1e-3)
    assert faces.found.all()


def test_frames_between_two_places_that_do_not_agree_are_looked_at():
    boxes = {0: (10, 10, 50, 50), 1: (12, 10, 52, 50), 2: None, 3: (100, 10, 140, 50)}
    detector = Counted(boxes)
    faces = track([plain(number) for number in range(4)], detector)
    assert detector.asked == [0, 3, 1, 2]
    assert faces.found.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(faces.box[1], boxes[1])
    assert np.isnan(faces.box[2]).all()
    assert faces.probability[2] == 0


def test_a_face_that_leaves_is_not_found_and_its_nearest_crop_is_repeated(detector):
    faces = track([with_faces(RIGHT)] * 3 + [GREY] * 3 + [with_faces(LEFT)] * 2, detector)
    assert faces.found.tolist() == [True] * 3 + [False] * 3 + [True] * 2
    assert faces.crop.tolist() == [0, 1, 2, 2, 2, 3, 3, 4]
    crops = faces.decode()
    assert crops.shape == (8, CROP_SIZE, CROP_SIZE, 3)
    np.testing.assert_array_equal(crops[3], crops[2])
    np.testing.assert_array_equal(crops[5], crops[6])
    np.testing.assert_allclose(faces.time, 1.0 + 0.128 * np.arange(8), atol=1e-6)


def test_one_frame_without_a_face_among_others_does_not_crash(detector):
    """MTCNN on a batch of such frames was reported to crash with some numpy versions."""
    frames = [with_faces(RIGHT), GREY, with_faces(RIGHT), GREY]
    assert track(frames, detector, detect_every=1).found.tolist() == [True, False, True, False]


def test_a_clip_without_any_face_has_rows_and_no_crops(detector):
    faces = track([GREY] * 4, detector)
    assert faces.jpeg == []
    assert faces.crop.tolist() == [-1] * 4
    assert not faces.found.any()
    assert np.isnan(faces.box).all()
    assert faces.box.shape == (4, 4)


def test_times_without_a_picture_have_no_face(detector):
    frames = [None, None, with_faces(RIGHT), with_faces(RIGHT), None, with_faces(RIGHT), None]
    faces = track(frames, detector)
    assert faces.found.tolist() == [False, False, True, True, False, True, False]
    assert faces.crop.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_no_times_give_an_empty_track(detector):
    faces = track([], detector)
    assert faces.box.shape == (0, 4)
    assert faces.jpeg == []


# -- crops ---------------------------------------------------------------------------------------


def test_colours_stay_rgb_through_jpeg():
    frame = plain((200, 120, 40), width=320, height=200)
    frame[:, 160:] = (30, 60, 210)
    faces = track([frame], Everywhere((130, 70, 190, 130)))
    (crop,) = faces.decode()
    np.testing.assert_allclose(crop[:, :70].mean(axis=(0, 1)), (200, 120, 40), atol=3)
    np.testing.assert_allclose(crop[:, 90:].mean(axis=(0, 1)), (30, 60, 210), atol=3)
    stored = cv2.imdecode(np.frombuffer(faces.jpeg[0], np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(stored, crop)  # other programs see the same colours


class Everywhere:
    """A detector that finds the same box in every frame."""

    def __init__(self, box):
        self.box = np.array(box, np.float32)

    def detect(self, frame, previous=None):
        return Detection(self.box, 0.99)


def test_the_stored_face_looks_like_the_one_in_the_frame(detector):
    frame = with_faces(RIGHT)
    faces = track([frame], detector)
    (crop,) = faces.decode()
    expected = crop_face(frame, faces.box[0])
    assert np.abs(crop.astype(int) - expected).mean() < 3
    assert len(faces.jpeg[0]) < 20_000


def test_a_crop_is_the_square_around_the_box_with_a_quarter_of_margin():
    frame = np.zeros((200, 320, 3), np.uint8)
    frame[60:140, 110:210] = 200  # 100 x 80, and so 125 x 125 around its centre (160, 100)
    crop = crop_face(frame, np.array([110, 60, 210, 140], np.float32))
    assert crop.shape == (CROP_SIZE, CROP_SIZE, 3)
    rows, columns = (np.flatnonzero(crop[..., 0].mean(axis) > 60) for axis in (1, 0))
    assert (columns[0], columns[-1]) == (pytest.approx(16, abs=2), pytest.approx(143, abs=2))
    assert (rows[0], rows[-1]) == (pytest.approx(29, abs=2), pytest.approx(131, abs=2))


@pytest.mark.parametrize(
    "box",
    [(-20, -20, 30, 30), (290, 170, 340, 220), (-40, 80, 20, 140), (100, -30, 500, 240)],
    ids=["top left", "bottom right", "left", "larger than the frame"],
)
def test_a_crop_over_the_edge_repeats_the_edge_and_is_never_black(box):
    frame = plain((10, 10, 10), width=320, height=200)
    frame[:4], frame[-4:], frame[:, :4], frame[:, -4:] = 240, 240, 240, 240
    frame[4:-4, 4:-4] = 180
    crop = crop_face(frame, np.array(box, np.float32))
    assert crop.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert crop.min() >= 170
    assert (crop == 240).mean() > 0.1


@pytest.mark.parametrize("box", [(-90, -90, -40, -40), (400, 20, 450, 70), (10, 300, 60, 350)])
def test_a_crop_wholly_outside_repeats_the_nearest_edge(box):
    crop = crop_face(plain(150, width=320, height=200), np.array(box, np.float32))
    assert (crop == 150).all()


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0, 0, 0, 0), (-5, -5, 6, 6)])
def test_a_frame_of_one_pixel_can_be_cropped(box):
    crop = crop_face(np.full((1, 1, 3), 77, np.uint8), np.array(box, np.float32))
    assert crop.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert (crop == 77).all()


def test_rows_and_size_of_decoded_crops_can_be_chosen():
    frames = [plain(50 * number + 50) for number in range(4)]
    faces = track(frames, Everywhere((40, 40, 80, 80)))
    crops = faces.decode(np.array([2, 0, 2]), size=112)
    assert crops.shape == (3, 112, 112, 3)
    assert crops.mean(axis=(1, 2, 3)).round().tolist() == [150, 50, 150]
