"""What networks that are shown a face share, whatever their file is."""

import cv2
import numpy as np

from emotion.clock import CROP_SIZE

FLAG = "--face_encoder"
MOST_PIXELS = 1 << 22  # that a network may want at once
# some picture, to see whether a network takes it: of one grey it could be hard to standardise
SOME = np.arange(CROP_SIZE * CROP_SIZE * 3).reshape(1, CROP_SIZE, CROP_SIZE, 3).astype(np.uint8)


def resized(crop: np.ndarray, height: int, width: int) -> np.ndarray:
    """A crop uint8 (160, 160, 3), all of it, as large as a network wants it; float32."""
    how = cv2.INTER_AREA if height < len(crop) else cv2.INTER_LINEAR
    return cv2.resize(crop, (width, height), interpolation=how).astype(np.float32)


def as_stored(vectors: np.ndarray) -> np.ndarray:
    """float16 (F, D).

    Raises:
        ValueError: they are no numbers, or too large for it.
    """
    with np.errstate(over="ignore"):
        stored = vectors.astype(np.float16)
    if not np.isfinite(stored).all():
        raise ValueError("it gives values that are not finite, or beyond 65504")
    return stored
