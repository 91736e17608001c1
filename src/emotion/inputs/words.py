"""Word embeddings, checked."""

from pathlib import Path

import numpy as np

from emotion.errors import first_line
from emotion.inputs.store import load_archive


class TextError(Exception):
    """A word embedding file that cannot be used; the message is one line."""


def read_word_embeddings(path: Path) -> np.ndarray | None:
    """``word_embed`` of an npz as float32 (W, D); None where it holds no words.

    Raises:
        TextError: unreadable, no such key, of another rank or type, or not finite.
    """
    try:
        words = load_archive(path, ("word_embed",))["word_embed"]
    except KeyError:
        raise TextError("holds no array named word_embed") from None
    except Exception as error:  # numpy raises what zip, zlib and its header parser raise
        raise TextError(f"not a readable npz: {first_line(error)}") from error
    if words.dtype.kind not in "fiu":
        raise TextError(f"word_embed is of type {words.dtype}, not numbers")
    if words.ndim != 2:
        raise TextError(f"word_embed has the shape {words.shape}, not (words, size)")
    words = words.astype(np.float32)
    if not np.isfinite(words).all():
        raise TextError("word_embed holds values that are not finite")
    return words if words.size else None
