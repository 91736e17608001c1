"""One face crop per sampled time: detect now and then, track between, crop at full resolution.

MTCNN: Zhang et al. 2016, arXiv 1604.02878, as facenet-pytorch ships it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from emotion.clock import CROP_SIZE
from emotion.inputs.face_track import FaceTrack, encode_jpeg
from emotion.lazy import Lazy

if TYPE_CHECKING:
    from emotion.inputs.mtcnn import Faces

mtcnn = Lazy("emotion.inputs.mtcnn")  # takes torch along; crops that are there are read without

JPEG_QUALITY = 88  # of the stored crops
MARGIN = 1.25  # side of the crop over the longer side of the face box
DETECTION_SIDE = 360  # pixels of the shorter side at most, when looking for faces
REGION = 2.5  # side of the region in which the face is looked for again, over the face's own
REGION_SIDE = 160  # pixels of that region at most
CLOSE = 1.4  # side of the picture in which one look is taken first, over the face's own
CLOSE_FACE = 96  # pixels of the face in it, or up to twice as many
STILL_IOU = 0.7  # with the face a moment ago; one that moved further is looked for in the region
MOST_LOOKS = 15  # one after another: then it is looked for, so that nothing else is kept for a face
MIN_FACE = 40  # pixels at these sizes
MIN_PROBABILITY = 0.95  # below it false faces were seen
DETECT_SECONDS = 0.384  # between two detections: 3 sampled frames at the default rate
SAME_FACE_IOU = 0.5  # two detections that overlap less are not joined without another look
# In a crop that is aligned, in shares of its side: where they are on average in one that is not.
EYES_AT = (0.5, 0.42)  # their middle
EYES_APART = 0.267
LEAST_APART = 0.27  # over the longer side of the face box: of a turned head they are closer
ROOM = 1.6  # side of the picture it is cut from: the crop may be turned by any angle
ALIAS = 1.25  # a warp may shrink by so much, unseen
NO_EYES = np.full((2, 2), np.nan, np.float32)


class Detection(NamedTuple):
    """A face in a frame."""

    box: np.ndarray  # float32 (4,): left, top, right, bottom in pixels of the frame
    probability: float
    eyes: np.ndarray = NO_EYES  # float32 (2, 2): x, y of the left one in the frame, of the right
    looks: int = 0  # since it was last looked for


class FaceDetector:
    """MTCNN on a downscaled frame; one face a frame."""

    def __init__(self, device: str = "cpu") -> None:
        self.network = mtcnn.Mtcnn(device)

    def detect(self, frame: np.ndarray, previous: Detection | None = None) -> Detection | None:
        """The largest face of an RGB frame (H, W, 3), or the one nearest to ``previous``.

        Where ``previous`` was, one look is enough as long as the face hardly moves; around it a
        small picture is; where that shows no face, all is searched.
        """
        height, width = frame.shape[:2]
        if previous is not None:
            found = self._look(frame, previous)
            if found is None:
                region = _region(previous.box, height, width, REGION)
                found = self._search(frame, region, REGION_SIDE, previous)
            if found is not None:
                return found
        return self._search(frame, (0, 0, width, height), DETECTION_SIDE, previous)

    def _look(self, frame: np.ndarray, previous: Detection) -> Detection | None:
        """The face where it was: six times as quick as to search the region around it."""
        shrink = max(1, int(max(previous.box[2:] - previous.box[:2]) // CLOSE_FACE))
        small, corner = _close_up(frame, previous.box, CLOSE, shrink)
        if previous.looks == MOST_LOOKS or min(small.shape[:2]) < MIN_FACE:
            return None
        box = (previous.box - np.tile(corner, 2)) / np.float32(shrink)
        seen = _in_frame(self.network.look(small, box[None]), corner, 1 / shrink)
        found = choose_face(seen.boxes, seen.probabilities, previous, seen.eyes)
        if found is None or overlap(found.box, previous.box) < STILL_IOU:
            return None
        return found._replace(looks=previous.looks + 1)

    def _search(
        self,
        frame: np.ndarray,
        region: tuple[int, int, int, int],
        side: int,
        previous: Detection | None,
    ) -> Detection | None:
        """A face in a region of the frame, its shorter side scaled down to ``side``."""
        left, top, right, bottom = region
        part = frame[top:bottom, left:right]
        scale = min(1.0, side / max(1, min(part.shape[:2])))
        size = [max(1, round(length * scale)) for length in part.shape[1::-1]]
        if min(size) < MIN_FACE:
            return None
        small = part if scale == 1.0 else cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        corner = np.array([left, top], np.float32)
        seen = _in_frame(self.network.detect(small, MIN_FACE), corner, scale)
        return choose_face(seen.boxes, seen.probabilities, previous, seen.eyes)


def choose_face(
    boxes: np.ndarray,
    probabilities: np.ndarray,
    previous: Detection | None,
    eyes: np.ndarray | None = None,
) -> Detection | None:
    """One of the sure faces: the largest, or the one whose centre is nearest to ``previous``.

    Args:
        boxes: float32 (K, 4).
        probabilities: float32 (K,).
        previous: the face a moment ago, if there was one.
        eyes: float32 (K, 2, 2), where they are known.
    """
    sure = np.flatnonzero(probabilities >= MIN_PROBABILITY)
    if sure.size == 0:
        return None
    boxes, probabilities = boxes[sure], probabilities[sure]
    if previous is None:
        best = np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    else:
        best = np.argmin(np.linalg.norm(_centre(boxes) - _centre(previous.box), axis=-1))
    found = NO_EYES if eyes is None else eyes[sure][best]
    return Detection(boxes[best], float(probabilities[best]), found)


def track_faces(
    times: np.ndarray,
    frames: Iterable[np.ndarray | None],
    detector: FaceDetector,
    detect_every: int = 3,
    *,
    align: bool = False,
) -> FaceTrack:
    """Crops of one face at the sampled ``times``; only ``detect_every`` frames are held at once.

    Args:
        times: (F,) seconds.
        frames: F pictures, uint8 (H, W, 3) RGB, or None where there is none.
        detector: finds a face in a frame.
        detect_every: frames between two sure detections; between, boxes are interpolated, or
            looked for where the two do not agree.
        align: turn the crops so that the eyes are level and at fixed places.
    """
    detections: list[Detection | None] = []
    jpeg: list[bytes] = []
    held: list[tuple[float, np.ndarray | None]] = []
    last: tuple[float, Detection | None] | None = None

    def settle() -> tuple[float, Detection | None]:
        for (_, frame), face in zip(held, _locate(held, last, detector), strict=True):
            detections.append(face)
            if face is not None and frame is not None:
                crop = aligned_face(frame, face) if align else crop_face(frame, face.box)
                jpeg.append(encode_jpeg(crop, JPEG_QUALITY))
        time = held[-1][0]
        held.clear()
        return time, detections[-1]

    for time, frame in zip(times.tolist(), frames, strict=True):
        held.append((time, frame))
        if last is None or len(held) == detect_every:
            last = settle()
    if held:
        settle()
    return _assemble(times, detections, jpeg)


def crop_face(frame: np.ndarray, box: np.ndarray, size: int = CROP_SIZE) -> np.ndarray:
    """Square crop around a face box with margin, uint8 (size, size, 3).

    What lies outside the frame repeats its edge.
    """
    side = max(2, round(MARGIN * float(max(box[2] - box[0], box[3] - box[1]))))
    left, top = np.round(_centre(box) - side / 2).astype(int)
    height, width = frame.shape[:2]
    # At least one row and column stay inside, wherever the box is.
    outside = [-top, top + side - height, -left, left + side - width]
    outside = np.clip(outside, 0, side - 1).tolist()
    first, last = np.clip([(top, left), (top + side, left + side)], 0, (height, width))
    first, last = np.minimum(first, (height - 1, width - 1)), np.maximum(last, 1)
    inside = frame[first[0] : last[0], first[1] : last[1]]
    if any(outside):
        inside = cv2.copyMakeBorder(inside, *outside, cv2.BORDER_REPLICATE)
    shrink = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(inside, (size, size), interpolation=shrink)


def aligned_face(frame: np.ndarray, face: Detection, size: int = CROP_SIZE) -> np.ndarray:
    """Square crop with the eyes level and at fixed places, uint8 (size, size, 3).

    What lies outside the frame repeats its edge. The crop is no smaller than the face box, so that
    of a head that is turned away, whose eyes are close together, all is shown. A face whose eyes
    are not known is cropped as it is.
    """
    if np.isnan(face.eyes).any():
        return crop_face(frame, face.box, size)
    middle = face.eyes.mean(axis=0)
    least = LEAST_APART * float(max(face.box[2:] - face.box[:2]))
    across, down = (face.eyes[1] - face.eyes[0]).tolist()
    side = max(np.hypot(across, down), least, 1.0) / EYES_APART
    angle = np.degrees(np.arctan2(down, max(across, least)))
    shrink = max(1, int(side // (2 * size)))  # by no more: to shrink and then warp blurs
    square = np.concatenate([middle - side / 2, middle + side / 2])
    near, corner = _close_up(frame, square, ROOM, shrink)
    if not near.size:  # the eyes are said to lie outside
        near, corner, shrink = frame, np.zeros(2, np.float32), 1
    middle = (middle - corner + 0.5) / shrink - 0.5
    side /= shrink
    # warped at a larger size and shrunk afterwards where to warp alone would alias
    large = size * int(np.ceil(side / size / ALIAS))
    turn = cv2.getRotationMatrix2D(middle.tolist(), angle, large / side)
    turn[:, 2] += np.multiply(EYES_AT, large) - middle
    crop = cv2.warpAffine(near, turn, (large, large), borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def _locate(
    held: list[tuple[float, np.ndarray | None]],
    last: tuple[float, Detection | None] | None,
    detector: FaceDetector,
) -> list[Detection | None]:
    """Faces of the held frames: the newest detected, the others between it and ``last``."""
    before = last[1] if last else None

    def look(frame: np.ndarray | None) -> Detection | None:
        return None if frame is None else detector.detect(frame, before)

    newest = look(held[-1][1])
    between = held[:-1]
    if before is None and newest is None:
        return [None] * len(held)
    if before is None or newest is None or overlap(before.box, newest.box) < SAME_FACE_IOU:
        return [*(look(frame) for _, frame in between), newest]
    start, end = last[0], held[-1][0]
    share = [(time - start) / (end - start) for time, _ in between]
    joined = [_interpolate(before, newest, part) for part in share]
    return [
        *(f if frame is not None else None for f, (_, frame) in zip(joined, between, strict=True)),
        newest,
    ]


def _in_frame(faces: "Faces", corner: np.ndarray, scale: float) -> "Faces":
    """In pixels of the frame: faces of a part of it that begins at ``corner`` and was scaled."""
    boxes = faces.boxes / np.float32(scale) + np.tile(corner, 2)
    return faces._replace(boxes=boxes, eyes=faces.eyes / np.float32(scale) + corner)


def _close_up(
    frame: np.ndarray, box: np.ndarray, over: float, shrink: int
) -> tuple[np.ndarray, np.ndarray]:
    """The square around a face, ``over`` times as large as it, and where it begins in the frame.

    It is shrunk by a whole number, which OpenCV does several times as quickly as by others.
    """
    left, top, right, bottom = _region(box, *frame.shape[:2], over)
    size = (right - left) // shrink, (bottom - top) // shrink
    part = frame[top : top + shrink * size[1], left : left + shrink * size[0]]
    if shrink > 1 and part.size:
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return part, np.array([left, top], np.float32)


def _region(box: np.ndarray, height: int, width: int, over: float) -> tuple[int, int, int, int]:
    """The square around a face, ``over`` times as large as it, within the frame."""
    half = over / 2 * float(max(box[2] - box[0], box[3] - box[1]))
    edges = np.concatenate([_centre(box) - half, _centre(box) + half]).round().astype(int)
    edges = np.clip(edges, 0, [width, height, width, height])
    return tuple(edges.tolist())


def _interpolate(first: Detection, second: Detection, share: float) -> Detection:
    box = (1 - share) * first.box + share * second.box
    eyes = (1 - share) * first.eyes + share * second.eyes
    sure = min(first.probability, second.probability)
    return Detection(box.astype(np.float32), sure, eyes.astype(np.float32))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two boxes (4,)."""
    corner = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    common = float(np.prod(np.clip(corner, 0, None)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (first, second)]
    return common / max(sum(areas) - common, 1e-9)


def _assemble(times: np.ndarray, faces: list[Detection | None], jpeg: list[bytes]) -> FaceTrack:
    found = np.array([face is not None for face in faces], dtype=bool)
    rows = np.flatnonzero(found)
    crop = np.full(len(faces), -1, np.int32)
    if rows.size:
        crop = _nearest(np.arange(len(faces)), rows).astype(np.int32)
    nothing = np.full(4, np.nan, np.float32)
    return FaceTrack(
        jpeg=jpeg,
        crop=crop,
        time=np.asarray(times, np.float32),
        box=np.array([nothing if f is None else f.box for f in faces], np.float32).reshape(-1, 4),
        probability=np.array([0 if f is None else f.probability for f in faces], np.float32),
        found=found,
    )


def _nearest(positions: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Index of the nearest of the ascending ``anchors`` for each of ``positions``."""
    after = np.clip(np.searchsorted(anchors, positions), 0, len(anchors) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(positions - anchors[before] <= anchors[after] - positions, before, after)


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[..., :2] + box[..., 2:]) / 2
