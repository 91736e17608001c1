"""The two records that data, models and training pass to one another.

They are NamedTuples of batch-first tensors, so that ``nn.DataParallel`` scatters them (it would
hand a dataclass whole to every replica). Shapes: B batch, T spectrogram frames, F face frames, W
words, D features, N sequence steps. A modality that a model does not use is None.
"""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Inputs of one batch. Times are seconds from the (cropped) clip's start, one clock for all."""

    speech: Tensor | None = None  # (B, 128, T) log-mel in [0, 1]; T is a multiple of 32
    speech_frames: Tensor | None = None  # (B,) int64, frames before padding: the clip's length
    speech_present: Tensor | None = None  # (B,) bool, False: no voice (the frames are zeros)
    face: Tensor | None = None  # (B, F, 512) embeddings or (B, F, 3, S, S) uint8 RGB crops
    face_mask: Tensor | None = None  # (B, F) bool, True where a face was found
    face_time: Tensor | None = None  # (B, F) float32 seconds
    text: Tensor | None = None  # (B, W, D) word embeddings
    text_mask: Tensor | None = None  # (B, W) bool
    mix_offset: Tensor | None = None  # (B,) int64: the partner in mixup is so many rows further on
    mix_weight: Tensor | None = None  # (B,) float32: share of the clip, the rest is its partner's


class Sequence(NamedTuple):
    """What ``encode`` returns."""

    values: Tensor  # (B, N, D)
    mask: Tensor  # (B, N) bool, True where a step carries data
    time: Tensor | None  # (B, N) seconds at the middle of each step, or None
