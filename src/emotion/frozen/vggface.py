"""VGG-Face embeddings of face crops: InceptionResnetV1 trained on VGGFace2, by facenet-pytorch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from emotion.command_line import flag
from emotion.downloads import fetch
from emotion.errors import UserError, first_line
from emotion.inputs.crop_vectors import CropVectors
from emotion.inputs.crops import CROP_SETTINGS
from emotion.inputs.vectors import Options as Options
from emotion.lazy import Lazy
from emotion.telling import note

facenet = Lazy("facenet_pytorch")  # embeddings that are there are read without it

URL = (
    "https://github.com/timesler/facenet-pytorch/releases/download/"
    "v2.2.9/20180402-114759-vggface2.pt"
)
BATCH_SIZE = 32


def normalise(crops: np.ndarray) -> torch.Tensor:
    """uint8 (F, 160, 160, 3) RGB to float32 (F, 3, 160, 160), about -1 to 1.

    That is what the network was trained on: raw 0-255 pixels put its answers at chance level.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
    return (pixels - 127.5) / 128.0


def find_weights(choice: str) -> Path | None:
    """The weights file: ``choice`` itself, or for ``auto`` the published one, downloaded once.

    ``none`` gives None; so does ``auto`` where nothing can be downloaded, with a line on stderr.

    Raises:
        UserError: ``choice`` names a file that does not exist.
    """
    if choice == "none":
        return None
    if choice != "auto":
        if not Path(choice).is_file():
            raise UserError(f"--vggface_weights {choice}: no such file; give a file, auto or none")
        return Path(choice)
    try:
        home = facenet.models.inception_resnet_v1.get_torch_home()
        return fetch(URL, Path(home) / "checkpoints")  # where facenet-pytorch looks
    except OSError as error:
        note(
            f"VGG-Face weights cannot be downloaded ({first_line(error)}); embeddings are "
            "skipped. Give the file by --vggface_weights FILE and run again, or train the face on "
            "resnet3d."
        )
        return None


def fingerprint(weights: Path) -> str:
    """First 16 hexadecimal digits of the file's SHA-256."""
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def fast_dtype(device: str) -> torch.dtype:
    """bfloat16 where the device multiplies matrices of it in hardware, else float32.

    With AMX the network takes a third of the time (0.4 against 1.3 s for 48 crops, one core), and
    the cosine between both embeddings of a crop stays above 0.999.
    """
    if device.startswith("cuda"):
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast = torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


class FaceEmbedder:
    """Crops in, embeddings out."""

    def __init__(
        self, weights: Path, device: str = "cpu", dtype: torch.dtype | None = None
    ) -> None:
        """Load the network; ``dtype`` is that of its weights and layers, the device's fast one.

        Raises:
            UserError: the file is not a checkpoint of this network.
        """
        self.device = device
        self.dtype = dtype or fast_dtype(device)
        self.network = facenet.InceptionResnetV1(pretrained=None, classify=False)
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            state = {key: value for key, value in state.items() if not key.startswith("logits.")}
            self.network.load_state_dict(state)
        except Exception as error:  # torch raises what its file formats raise
            raise UserError(
                f"{weights}: not a VGG-Face checkpoint of facenet-pytorch "
                f"({first_line(error)}); give another to --vggface_weights"
            ) from error
        self.network.eval().to(device, self.dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def embed(self, crops: np.ndarray) -> np.ndarray:
        """uint8 (F, 160, 160, 3) RGB crops to float16 (F, 512), each of length 1."""
        firsts = range(0, max(len(crops), 1), BATCH_SIZE)
        batches = (normalise(crops[first : first + BATCH_SIZE]) for first in firsts)
        answers = [self.network(batch.to(self.device, self.dtype)).cpu() for batch in batches]
        # The network ends on unit length; rounding to bfloat16 would leave it off by 0.4 %.
        return functional.normalize(torch.cat(answers).float()).numpy().astype(np.float16)


@dataclass(frozen=True)
class Extraction:
    """Where the weights are."""

    vggface_weights: str = flag(
        "auto",
        "VGG-Face weights: a file, auto (download) or none (no embeddings)",
        "features",
        predict=(".pt", ".pth"),
    )


class VGGFace(CropVectors):
    """An embedding float16 (512,) of every crop."""

    name, folder = "embedding", "video_embedding"
    settings = (*CROP_SETTINGS, "vggface")
    reasons = {
        "absent": "shows no face",
        "model": "reads VGG-Face embeddings; give its weights: --encoders FILE.pt",
        "skipped": "has no face embeddings: give --vggface_weights FILE",
        "failed": "has no readable face",
    }

    def describe(self, options: Extraction) -> dict[str, Any]:
        """The fingerprint of the weights; None where there are none.

        Raises:
            UserError: the file is none of this network's.
        """
        weights = find_weights(options.vggface_weights)
        if weights is None:
            return {"vggface": None}
        FaceEmbedder(weights)  # a file that is none fails here, and not in every clip
        return {"vggface": fingerprint(weights)}

    def is_made(self, settings: dict[str, Any]) -> bool:
        """Where there are weights."""
        return settings.get("vggface") is not None

    def obstacle(self, settings: dict[str, Any], options: Extraction) -> str:
        """Why crops cannot be embedded here as ``settings`` say, or nothing.

        Raises:
            UserError: there are other weights.
        """
        found = self.describe(options)["vggface"]
        if found is None:
            return "without VGG-Face weights faces count as absent"
        if found != settings.get("vggface"):
            raise UserError(
                f"--vggface_weights {find_weights(options.vggface_weights)}: is not the file that "
                f"the model was trained on (fingerprint {settings.get('vggface')}, this one has "
                f"{found})"
            )
        return ""

    def open(
        self, settings: dict[str, Any], options: Extraction, device: str
    ) -> "FaceEmbedder | None":
        """The network, where there are weights."""
        if not self.is_made(settings):
            return None
        return FaceEmbedder(find_weights(options.vggface_weights), device)


FEATURE = VGGFace()
