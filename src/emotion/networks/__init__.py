"""Models: ``build_model(options)`` gives encode(Batch) -> Sequence and forward(Batch) -> logits."""

from emotion.networks.face import FaceEncoder, FaceVideoEncoder, build_face, load_kinetics
from emotion.networks.multimodal import (
    MultimodalModel,
    build_multimodal,
    freeze_backbone,
    load_encoder,
)
from emotion.networks.options import ModelOptions
from emotion.networks.single import SingleModel
from emotion.networks.speech import SpeechEncoder, build_speech, load_imagenet
from emotion.networks.text import TextEncoder, build_text

__all__ = [
    "FaceEncoder",
    "FaceVideoEncoder",
    "ModelOptions",
    "MultimodalModel",
    "SingleModel",
    "SpeechEncoder",
    "TextEncoder",
    "build_model",
    "freeze_backbone",
    "load_encoder",
    "load_imagenet",
    "load_kinetics",
]

_BUILDERS = {
    "speech": build_speech,
    "face": build_face,
    "text": build_text,
    "multimodal": build_multimodal,
}


def build_model(options: ModelOptions) -> SingleModel | MultimodalModel:
    """The model of ``options.mode``, with random weights.

    It has ``encode(batch) -> Sequence``, ``forward(batch) -> {name: logits (B, n_classes)}`` and
    ``attention(batch) -> {name: weights}``. Heads are named by their mode; the multimodal model's
    is "integrated", with "speech" and "face" beside it where ``options.multitask``.
    """
    return _BUILDERS[options.mode](options)
