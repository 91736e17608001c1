"""``predict.py --transcripts``: words in files, nothing, or where networks have moved to."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from emotion.errors import UserError
from emotion.frozen.transcriber import WEIGHTS
from emotion.inputs.spoken import Spoken
from emotion.inputs.spoken_files import read_given

NOTHING = "none"
ENCODER = "model.safetensors"


class Given(NamedTuple):
    """What the values of the flag mean."""

    words: dict[str, Spoken] | None = None  # by FileID; None where no words were given
    nothing: bool = False  # words are to be left out
    transcriber: str = ""  # where it is now
    embedder: str = ""  # where the text encoder or the word vectors are now


@cache
def given(values: Sequence[str]) -> Given:
    """What the values mean: each a CSV, a folder of files of words, ``none``, the folder of a
    transcriber or a text encoder, or a file of word vectors.

    Raises:
        UserError: one is none of these, or damaged.
    """
    found = Given()
    for value in values:
        path = Path(value)
        if value == NOTHING:
            found = found._replace(nothing=True)
        elif (path / WEIGHTS).is_file():
            found = found._replace(transcriber=value)
        elif (path / ENCODER).is_file() or (path.is_file() and path.suffix.lower() != ".csv"):
            found = found._replace(embedder=value)
        elif path.exists():
            found = found._replace(words=(found.words or {}) | read_given(path))
        else:
            raise UserError(f"--transcripts {value}: no such file or folder")
    if found.nothing and len(values) > 1:
        raise UserError("--transcripts none: leave out the other values")
    return found
