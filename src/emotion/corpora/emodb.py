"""EmoDB, the Berlin database (Burkhardt et al. 2005, doi 10.21437/Interspeech.2005-446).

535 files ``wav/<speaker><sentence><emotion><version>.wav``, as ``03a01Fa``: 10 speakers, 10 German
sentences, 7 emotions by the letter of their German name, so that A (Angst) is fear and W (Wut) is
anger. Every sentence is said in every emotion, so there is no text. No official splits: folds are
by speaker.
"""

import re
from pathlib import Path

from emotion.corpora.takes import (
    TakeFile,
    acted_clip,
    choose_takes,
    files_below,
    note_passed_over,
)
from emotion.errors import UserError
from emotion.records import Clip, Corpus, Labels, Named

EMOTIONS = {
    "W": "anger",  # Wut
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happiness",  # Freude
    "T": "sadness",  # Trauer
    "N": "neutral",
}
MEDIA = (".wav", ".flac")
SEX = dict.fromkeys(("03", "10", "11", "12", "15"), "male")
SEX |= dict.fromkeys(("08", "09", "13", "14", "16"), "female")
NAME = re.compile(r"^(?P<speaker>\d\d)[ab]\d\d(?P<emotion>[A-Z])[a-z]$")


def load(folder: Path) -> Corpus:
    """All files below ``folder``.

    Raises:
        UserError: no file is named after the scheme, or its emotion is not one of the seven.
    """
    paths = list(files_below(folder, MEDIA))
    named = [path for path in paths if NAME.match(path.stem)]
    misnamed = [path for path in paths if not NAME.match(path.stem)]
    if not named:
        raise UserError(
            f"{folder}: holds no wav named like 03a01Fa, as EmoDB's are; put its wav/ there"
        )
    note_passed_over("emodb", misnamed, "not named like 03a01Fa")
    takes = choose_takes(TakeFile(p.stem, MEDIA.index(p.suffix.lower()), p) for p in named)
    return Corpus("emodb", tuple(EMOTIONS.values()), [_load_clip(path) for path in takes])


def _load_clip(path: Path) -> Clip:
    match = NAME.match(path.stem)
    if match["emotion"] not in EMOTIONS:
        raise UserError(
            f"{path}: emotion letter {match['emotion']} is not one of {' '.join(EMOTIONS)}; "
            "correct the name"
        )
    emotion = list(EMOTIONS).index(match["emotion"])
    return acted_clip(path, match["speaker"], emotion, SEX.get(match["speaker"], ""))


def parse_name(stem: str) -> Named:
    """Who speaks and the emotion, where the name is of the scheme."""
    match = NAME.match(stem)
    if match is None or match["emotion"] not in EMOTIONS:
        return Named(stem, None, Labels())
    emotion = list(EMOTIONS).index(match["emotion"])
    labels = Labels(emotion, emotion, emotion)
    return Named(stem, match["speaker"], labels, SEX.get(match["speaker"], ""))
