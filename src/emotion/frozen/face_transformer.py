"""Image encoders of the Hugging Face hub, used as they are on faces: CLIP (Radford et al. 2021,
arXiv 2103.00020), DINOv2 (Oquab et al. 2023, arXiv 2304.07193), ViT (Dosovitskiy et al. 2020, arXiv
2010.11929) and their like (``requirements-text.txt``).
"""

import json
from typing import Any

import numpy as np
import torch

from emotion.errors import UserError, first_line
from emotion.frozen.face_network import FLAG, SOME, as_stored, resized
from emotion.frozen.hugging_face import fingerprint, folder_of, library

FILES = "config.json, model.safetensors and preprocessor_config.json"
BATCH_SIZE = 16


class FaceTransformer:
    """Crops in, vectors out: what the encoder pools, or its first token (CLS) where its file has no
    weights to pool with.
    """

    scale = "own"  # what its preprocessor_config.json says; its fingerprint covers that

    def __init__(self, source: str, device: str = "cpu") -> None:
        """Load the encoder, and show it a picture.

        Args:
            source: a folder that holds it, or its name on the hub.
            device: where it runs.

        Raises:
            UserError: no transformers, no such encoder, or no network to fetch it.
        """
        transformers = library(FLAG, source)
        folder = folder_of(FLAG, source, FILES)
        self.device = device
        try:  # a folder may name code of its own: it is never run
            self.pictures = Pictures(
                transformers.AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
            )
            self.model = _load(transformers, folder).eval().requires_grad_(False).to(device)
            self.output = "pooled" if self._answer(SOME).pooler_output is not None else "cls"
            self.embed(SOME)
        except Exception as error:  # the library raises what its file formats raise
            raise UserError(
                f"{FLAG} {source}: not an image encoder ({first_line(error)}); requires {FILES}"
            ) from error
        self.fingerprint = fingerprint(self.model, self.pictures.described)

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """uint8 (F, 160, 160, 3) RGB to float16 (F, D).

        Raises:
            ValueError: the encoder gives no numbers.
        """
        firsts = range(0, len(crops), BATCH_SIZE)
        return np.concatenate([self._vectors(crops[one : one + BATCH_SIZE]) for one in firsts])

    def _vectors(self, crops: np.ndarray) -> np.ndarray:
        answer = self._answer(crops)
        pooled = self.output == "pooled"
        vectors = answer.pooler_output if pooled else answer.last_hidden_state[:, 0]
        return as_stored(vectors.flatten(1).cpu().numpy())

    @torch.inference_mode()
    def _answer(self, crops: np.ndarray) -> Any:
        return self.model(pixel_values=self.pictures(crops).to(self.device))


class Pictures:
    """Crops as an encoder was trained on pictures: all of each, at its size and scale."""

    def __init__(self, processor: Any) -> None:
        """``processor``: the library's own, which would cut the edges of a crop off."""
        crops = getattr(processor, "do_center_crop", False)
        size = dict(processor.crop_size if crops else processor.size)
        known = {name: side for name, side in size.items() if side}
        side = known.get("shortest_edge")
        self.height, self.width = known.get("height", side), known.get("width", side)
        self.factor = processor.rescale_factor if processor.do_rescale else 1.0
        scaled = processor.do_normalize
        self.mean = list(processor.image_mean) if scaled else [0.0] * 3
        self.deviation = list(processor.image_std) if scaled else [1.0] * 3
        self.described = json.dumps(vars(self), sort_keys=True).encode()

    def __call__(self, crops: np.ndarray) -> torch.Tensor:
        """uint8 (F, 160, 160, 3) RGB to float32 (F, 3, H, W)."""
        pixels = np.stack([resized(crop, self.height, self.width) for crop in crops])
        pixels = (pixels * self.factor - self.mean) / self.deviation
        return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)


def _load(transformers: Any, folder: str) -> torch.nn.Module:
    """The part of a model that sees. Layers that the file has no weights for would be drawn."""
    model, told = transformers.AutoModel.from_pretrained(
        folder,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
    )
    drawn = set(told["missing_keys"])
    pooler = {name for name in drawn if "pooler" in name.split(".")}
    if drawn - pooler:
        raise ValueError(f"its file has no weights {min(drawn - pooler)}")
    model = getattr(model, "vision_model", model)
    if pooler:
        model.pooler = None
    return model
