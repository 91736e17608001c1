"""Where a network comes from, and after a colon what is kept of it: ``openai/whisper-base:2,3``."""

from pathlib import Path
from typing import NamedTuple

from emotion.errors import UserError

SPEECH_ENCODER, TEXT_ENCODER = "--speech_encoder", "--text_encoder"  # flags that name them


class Source(NamedTuple):
    """A network as a flag names it."""

    place: str  # a file, a folder, or a name on the Hugging Face hub
    kept: tuple[str, ...] = ()  # what follows it, between colons


def read_source(text: str) -> Source:
    """Split at colons; a path that is there is a path, whatever it is called."""
    if Path(text).exists():
        return Source(text)
    place, *kept = text.split(":")
    return Source(place, tuple(kept))


def whole_numbers(flag: str, text: str) -> tuple[str, tuple[int, ...]]:
    """A source, and the numbers from 1 that follow it, such as layers.

    Raises:
        UserError: something else follows it.
    """
    place, kept = read_source(text)
    numbers = [number.strip() for number in ",".join(kept).split(",")] if kept else []
    if any(not number.isdecimal() or int(number) < 1 for number in numbers):
        raise UserError(
            f"{flag} {text}: after the colon stand layers, from 1, as in openai/whisper-base:2,3"
        )
    return place, tuple(map(int, numbers))
