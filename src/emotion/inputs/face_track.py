"""The faces of a clip as they are stored: one row a sampled time, crops as JPEG."""

from typing import NamedTuple

import cv2
import numpy as np

from emotion.clock import CROP_SIZE


class FaceTrack(NamedTuple):
    """The face of a clip; F sampled times, K stored crops.

    Where no face was found, ``crop`` names the nearest found one; in a clip without any face K is 0
    and ``crop`` is -1.
    """

    jpeg: list[bytes]  # K coded crops, 160 x 160 RGB
    crop: np.ndarray  # int32 (F,), row -> index in jpeg
    time: np.ndarray  # float32 (F,) seconds
    box: np.ndarray  # float32 (F, 4) pixels, NaN where not found
    probability: np.ndarray  # float32 (F,), 0 where not found
    found: np.ndarray  # bool (F,)

    def shifted(self, seconds: float) -> "FaceTrack":
        """The same faces, so much later."""
        return self._replace(time=(self.time + seconds).astype(np.float32))

    def decode(self, rows: np.ndarray | None = None, size: int = CROP_SIZE) -> np.ndarray:
        """Crops of the given rows (default: all) as uint8 (rows, size, size, 3) RGB.

        Raises:
            ValueError: a crop is damaged.
        """
        wanted = self.crop if rows is None else self.crop[rows]
        pictures = {index: _decode_jpeg(self.jpeg[index], size) for index in set(wanted.tolist())}
        return np.stack([pictures[index] for index in wanted.tolist()])


# At the same number of bytes a sharp face keeps 1 dB more with its colours at full resolution, and
# Huffman tables of its own make a crop 6 % smaller for 0.15 ms.
JPEG = (
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
)


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """JPEG of an RGB picture (H, W, 3)."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality, *JPEG])[1].tobytes()


def _decode_jpeg(coded: bytes, size: int) -> np.ndarray:
    bgr = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR) if coded else None
    if bgr is None:
        raise ValueError("a face crop is no JPEG")
    if size != bgr.shape[0]:
        bgr = cv2.resize(bgr, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
