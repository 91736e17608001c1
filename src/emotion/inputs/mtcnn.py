"""MTCNN (Zhang et al. 2016, arXiv 1604.02878) on one picture: the networks of facenet-pytorch.

Its own ``detect_face`` spends most of its time around the networks: it cuts and resizes every
candidate window by itself in torch, and its memory format keeps pooling from being vectorised.
Here windows are cut by OpenCV. Boxes are pixels: left, top, right, bottom.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torchvision.ops import nms

WINDOW, STRIDE = 12, 2  # pixels: what the first network looks at, and how far apart
PYRAMID = 0.709  # each picture over the one before: half its area
THRESHOLDS = (0.6, 0.7, 0.7)  # probability of a face after each network
REFINED = (24, 48)  # pixels the second and third network look at


class Faces(NamedTuple):
    """K faces of a picture, in its pixels."""

    boxes: np.ndarray  # float32 (K, 4)
    probabilities: np.ndarray  # float32 (K,)
    eyes: np.ndarray  # float32 (K, 2, 2): x and y of the one on the left of the picture, the other


class Mtcnn:
    """Faces of a picture."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.propose, self.refine, self.decide = (
            network.eval().to(device, memory_format=torch.channels_last)
            for network in (PNet(), RNet(), ONet())
        )

    @torch.inference_mode()
    def detect(self, picture: np.ndarray, min_face: int) -> Faces:
        """All faces of ``min_face`` pixels or more.

        Args:
            picture: uint8 (H, W, 3) RGB.
            min_face: pixels.
        """
        boxes, probabilities = self._proposals(picture, min_face)
        if len(boxes):
            boxes, probabilities = self._refined(picture, boxes)
        if len(boxes):
            return self._decided(picture, boxes)
        return Faces(boxes, probabilities, np.zeros((0, 2, 2), np.float32))

    @torch.inference_mode()
    def look(self, picture: np.ndarray, boxes: np.ndarray) -> Faces:
        """Faces where they are thought to be, by the third network alone.

        Args:
            picture: uint8 (H, W, 3) RGB.
            boxes: float32 (N, 4).
        """
        return self._decided(picture, _square(boxes))

    def _proposals(self, picture: np.ndarray, min_face: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows of every size in which the first network sees a face."""
        found = [self._windows(small, scale) for small, scale in _pyramid(picture, min_face)]
        if not found:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        boxes, probabilities, shifts = (np.concatenate(part) for part in zip(*found, strict=True))
        kept = _suppress(boxes, probabilities, 0.7)
        return _square(_shifted(boxes[kept], shifts[kept], 0)), probabilities[kept]

    def _windows(
        self, small: np.ndarray, scale: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shifts, probabilities = self._run(self.propose, small[None])
        probabilities, shifts = probabilities[0, 1], shifts[0]
        rows, columns = np.nonzero(probabilities >= THRESHOLDS[0])
        corner = STRIDE * np.stack([columns, rows], axis=1)
        boxes = np.concatenate([(corner + 1) / scale, (corner + WINDOW) / scale], axis=1)
        boxes, sure = np.floor(boxes).astype(np.float32), probabilities[rows, columns]
        kept = _suppress(boxes, sure, 0.5)
        return boxes[kept], sure[kept], shifts[:, rows, columns].T[kept]

    def _refined(self, picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shifts, probabilities = self._run(self.refine, _cut(picture, boxes, REFINED[0]))
        sure = probabilities[:, 1] > THRESHOLDS[1]
        boxes, shifts, probabilities = boxes[sure], shifts[sure], probabilities[sure, 1]
        kept = _suppress(boxes, probabilities, 0.7)
        return _square(_shifted(boxes[kept], shifts[kept], 1)), probabilities[kept]

    def _decided(self, picture: np.ndarray, boxes: np.ndarray) -> Faces:
        shifts, points, probabilities = self._run(self.decide, _cut(picture, boxes, REFINED[1]))
        sure = probabilities[:, 1] > THRESHOLDS[2]
        windows, probabilities = boxes[sure], probabilities[sure, 1]
        boxes, eyes = _shifted(windows, shifts[sure], 1), _eyes(windows, points[sure])
        kept = _suppress_nested(boxes, probabilities, 0.7)
        return Faces(boxes[kept], probabilities[kept], eyes[kept])

    def _run(self, network: torch.nn.Module, pictures: np.ndarray) -> list[np.ndarray]:
        """What a network says of uint8 (N, H, W, 3) pictures."""
        pixels = torch.from_numpy(pictures).to(self.device).permute(0, 3, 1, 2)
        return [part.cpu().numpy() for part in network((pixels.float() - 127.5) / 128)]


def _pyramid(picture: np.ndarray, min_face: int) -> Iterator[tuple[np.ndarray, float]]:
    """The picture at all sizes at which a face fills the first network's window.

    Each is made of the one before, which is four times as quick as to make all of the largest.
    """
    height, width = picture.shape[:2]
    scale = WINDOW / min_face
    while min(height, width) * scale >= WINDOW:
        size = int(width * scale + 1), int(height * scale + 1)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        yield picture, scale
        scale *= PYRAMID


def _cut(picture: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """What of each box is inside the picture, uint8 (N, side, side, 3)."""
    height, width = picture.shape[:2]
    left, top, right, bottom = boxes.astype(int).T
    left, right = np.clip(left - 1, 0, width - 1), np.clip(right, 1, width)
    top, bottom = np.clip(top - 1, 0, height - 1), np.clip(bottom, 1, height)
    edges = zip(left, top, np.maximum(right, left + 1), np.maximum(bottom, top + 1), strict=True)
    parts = [picture[t:b, x:r] for x, t, r, b in edges]
    return np.stack(
        [cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA) for part in parts]
    )


def _shifted(boxes: np.ndarray, shifts: np.ndarray, extra: int) -> np.ndarray:
    """Boxes moved by what a network says, in shares of their sides (``extra`` pixels longer)."""
    sides = boxes[:, 2:] - boxes[:, :2] + np.float32(extra)
    return boxes + np.tile(sides, 2) * shifts


def _eyes(windows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Pixels (K, 2, 2) of the eyes, of five points whose x and then y are shares of a window."""
    sides = windows[:, None, 2:] - windows[:, None, :2] + np.float32(1)
    shares = points.reshape(-1, 2, 5)[..., :2].transpose(0, 2, 1)
    return windows[:, None, :2] - np.float32(1) + sides * shares


def _square(boxes: np.ndarray) -> np.ndarray:
    """Squares on the longer side, about the same centre."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + (sides - longer) / 2
    return np.concatenate([corner, corner + longer], axis=1)


def _suppress(boxes: np.ndarray, probabilities: np.ndarray, limit: float) -> np.ndarray:
    """Rows to keep, the surest first: none overlaps a surer one by more than ``limit`` (IoU)."""
    return nms(torch.from_numpy(boxes), torch.from_numpy(probabilities), limit).numpy()


def _suppress_nested(boxes: np.ndarray, probabilities: np.ndarray, limit: float) -> np.ndarray:
    """As ``_suppress``, by the share of the smaller box: a face inside a face is none."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    kept: list[int] = []
    for row in np.argsort(-probabilities, kind="stable"):
        corner = np.minimum(boxes[row, 2:], boxes[kept, 2:])
        sides = np.clip(corner - np.maximum(boxes[row, :2], boxes[kept, :2]) + 1, 0, None)
        if not (np.prod(sides, axis=1) > limit * np.minimum(areas[row], areas[kept])).any():
            kept.append(int(row))
    return np.array(kept, dtype=np.int64)
