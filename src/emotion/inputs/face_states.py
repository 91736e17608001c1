"""What a pretrained network sees in a face: a vector of every crop.

A family of features, ``face:<name of the network>``, several beside one another in one folder and
beside VGG-Face's. The networks are ONNX files and image encoders of the Hugging Face hub.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from emotion.command_line import flag
from emotion.errors import UserError
from emotion.frozen.face_network import FLAG
from emotion.frozen.face_onnx import BGR, SCALES, FaceOnnx
from emotion.frozen.face_transformer import FaceTransformer
from emotion.frozen.source import read_source
from emotion.inputs.crop_vectors import CropVectors
from emotion.inputs.crops import CROP_SETTINGS
from emotion.inputs.encoder_family import OfEncoder, by_name
from emotion.inputs.feature import SOURCE
from emotion.inputs.vectors import Options as Options
from emotion.telling import note

VGGFACE = "vggface"  # has a feature and a flag of its own


@dataclass(frozen=True)
class Extraction:
    """Which networks, and what is kept of them."""

    face_encoder: list[str] = flag(  # noqa: RUF009
        [],
        "pretrained networks that are shown the face crops, beside VGG-Face: ONNX files (pip "
        "install -r requirements-onnx.txt), and image encoders such as CLIP, DINOv2 and ViT, by "
        "folder or by name on the Hugging Face hub (pip install -r requirements-text.txt); after a "
        "colon the output that is kept of an ONNX file, or how it wants its pixels: "
        "FILE.onnx:penultimate:unit",
        "features",
        type=str,
        predict=("", ".onnx"),
    )


class FaceStatesFeature(OfEncoder, CropVectors):
    """One member of the family; see the module."""

    flag = FLAG
    reasons = {"absent": "shows no face", "failed": "has no readable face"}

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.settings = (*CROP_SETTINGS, name)

    def load(self, source: str, wanted: dict[str, Any], device: str) -> FaceOnnx | FaceTransformer:
        """The network, with the output and the scale that are described."""
        return open_network(source, wanted["output"], wanted["scale"], device)


def describe(options: Extraction) -> dict[str, Any]:
    """What features.json says of each network that the flags name.

    Raises:
        UserError: one cannot be used, or two would share a folder.
    """
    kept = {
        place: (output, scale)
        for place, output, scale in map(kept_of, options.face_encoder)
        if place != VGGFACE
    }
    described = {}
    for name, source in by_name("face", FLAG, list(kept)).items():
        network = open_network(source, *kept[source], "cpu")
        if is_onnx(source):
            note(f"{name}: pixels are scaled as {network.scale}, the output is {network.output}")
        described[name] = {
            SOURCE: source,
            "fingerprint": network.fingerprint,
            "output": network.output,
            "scale": network.scale,
        }
    return described


def kept_of(text: str) -> tuple[str, str, str]:
    """A network as ``--face_encoder`` names it, its output and its scale, which ONNX files have.

    Raises:
        UserError: it is no ONNX file, or more follows.
    """
    place, words = read_source(text)
    scales = [word for word in words if word.removesuffix(BGR) in SCALES]
    outputs = [word for word in words if word not in scales]
    if (words and not is_onnx(place)) or len(scales) > 1 or len(outputs) > 1:
        raise UserError(
            f"{FLAG} {text}: an ONNX file may be followed by one output and one of "
            f"{' '.join(SCALES)}, with {BGR} where blue comes first; nothing else"
        )
    return place, *(outputs or [""]), *(scales or ["auto"])


def is_onnx(source: str) -> bool:
    """Whether a network is an ONNX file."""
    return source.endswith(".onnx")


@cache
def open_network(source: str, output: str, scale: str, device: str) -> FaceOnnx | FaceTransformer:
    """Loaded once in each process."""
    if is_onnx(source):
        return FaceOnnx(source, output, scale)
    return FaceTransformer(source, device)


@cache
def feature(name: str) -> FaceStatesFeature:
    """The member of this name."""
    return FaceStatesFeature(name)
