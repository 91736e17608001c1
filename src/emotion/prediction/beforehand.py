"""What can be said of predict.py's flags before anything is loaded, and of those nobody reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emotion import registry
from emotion.errors import UserError
from emotion.inputs import transcription
from emotion.inputs.given_words import given
from emotion.prediction.inputs import NOTHING
from emotion.prediction.members import Member
from emotion.recipe import Part
from emotion.telling import note


def check_given(options: Any) -> None:
    """Before an encoder is fetched: there is something to answer, and it is there.

    Raises:
        UserError: nothing is asked for, or a path does not exist.
    """
    others = (options.split, options.transcripts, options.export, options.calibrate)
    if not options.input and not any(others):
        raise UserError(NOTHING)
    for path in options.input:
        if not path or not Path(path).exists():
            raise UserError(f"--input {path or repr(path)}: no such file or folder")


def tell_unused(options: Any, members: Sequence[Member]) -> None:
    """A line about ``--transcripts`` where no model reads words, or none hears them."""
    found = given(tuple(options.transcripts))
    if found == given(()) or found.nothing:
        return
    of_words = [m for m in members if any(_is_of_words(part) for part in m.recipe.parts)]
    if not of_words:
        note("--transcripts: no model here reads words, so they are not used")
    elif found.transcriber and not any(m.settings.get(transcription.NAME) for m in of_words):
        note(
            f"--transcripts {found.transcriber}: not used, for the words of the training were not "
            "heard; give what is said: a CSV with FileID,transcript, or .txt, .srt, .vtt"
        )


def _is_of_words(part: Part) -> bool:
    return registry.feature(part.feature).backdrop == "words"
