"""Imported once by the process that others are forked from: what loads at its first use, loaded."""

import torch._dynamo
import torch.utils.tensorboard  # noqa: F401

from emotion.inputs.audio import extract_speech
from tests.faults.media import VOICE

extract_speech(VOICE)  # librosa compiles and imports lazily: seconds
