"""A fourth modality in one file: body pose, as vectors that lie beside each clip.

``NAME.pose.npz`` beside ``NAME.mp4`` holds ``pose`` (T, D), a vector a moment (joint positions, as
any pose estimator gives them), and ``time`` (T,), its seconds in the clip.

    python preprocess.py --extend examples/extend/pose.py ...
    python train.py --extend examples/extend/pose.py --mode pose ...          # or multimodal
    python predict.py --extend examples/extend/pose.py --weights ... --input CLIP ...
"""

from pathlib import Path
from typing import Any

import numpy as np

from emotion.inputs.feature import Absent
from emotion.inputs.media import Media
from emotion.inputs.store import load_archive
from emotion.inputs.vectors import Options as Options  # --normalise speaker
from emotion.inputs.vectors import VectorFeature, Vectors
from emotion.records import Clip
from emotion.registry import VECTORS, FeatureLine

FEATURES = {"pose": FeatureLine("pose", VECTORS, __name__)}


class Pose(VectorFeature):
    """Whoever wants poses from the video itself overrides ``open`` and ``extract`` alone."""

    name, folder = "pose", "pose"
    of_media = False
    reasons = {"absent": "has no pose file", "failed": "has no readable pose file"}

    def lies_beside(self, clip: Clip) -> bool:
        """Whether there is a pose file."""
        return clip.path is not None and self._path(clip).is_file()

    def extract(self, media: Media, settings: dict[str, Any], tools: None) -> Vectors:
        """What lies beside the clip, in the order of time."""
        if not self.lies_beside(media.clip):
            raise Absent("absent")
        arrays = load_archive(self._path(media.clip), ("pose", "time"))
        order = np.argsort(arrays["time"])
        values = arrays["pose"][order].astype(np.float32)
        return Vectors(values, arrays["time"][order].astype(np.float32), np.ones(len(order), bool))

    @staticmethod
    def _path(clip: Clip) -> Path:
        return clip.path.with_suffix(".pose.npz")


FEATURE = Pose()
