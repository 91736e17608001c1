"""The songs of RAVDESS: six of the eight emotions, so that they are a corpus of their own."""

from pathlib import Path

from emotion.corpora.ravdess import CLASS_NAMES, load_channel, parse_name
from emotion.records import Corpus

__all__ = ["load", "parse_name"]
PEOPLE = "ravdess"  # the actors are those of the speech
SONG_CLASS_NAMES = CLASS_NAMES[:6]


def load(folder: Path) -> Corpus:
    """All sung takes below ``folder``.

    Raises:
        UserError: no file is named after the scheme, or an emotion number is not from 01 to 06.
    """
    clips = load_channel(folder, "songs", SONG_CLASS_NAMES)
    return Corpus("ravdess_song", SONG_CLASS_NAMES, clips)
