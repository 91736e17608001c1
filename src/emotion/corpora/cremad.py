"""CREMA-D (Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244): 91 actors, 12 sentences, 6 emotions.

Files are named ``<actor>_<sentence>_<emotion>_<level>``, as ``AudioWAV/1001_DFA_ANG_XX.wav`` and
``VideoFlash/1001_DFA_ANG_XX.flv``: the same take twice, which is one clip, with its picture where
that is there. The label is the emotion that was acted, not what raters saw or heard. Every sentence
is said in every emotion, so there is no text. No official splits: folds are by actor.
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
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
MEDIA = (".mp4", ".flv", ".wav", ".flac", ".mp3")  # the first that exists stands for the take
# One level is written X in place of XX: 1040_ITH_SAD_X.
NAME = re.compile(r"^(?P<actor>1\d{3})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_(LO|MD|HI|XX?)$")
# Silent or without a picture in the published release, in one format or another.
BROKEN = {"1076_MTI_NEU_XX", "1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD"}


def load(folder: Path) -> Corpus:
    """All takes below ``folder`` except the four that are known to be broken.

    Raises:
        UserError: no file is named after the scheme, or its emotion is not one of the six.
    """
    files, misnamed, broken = [], [], []
    for path in files_below(folder, MEDIA):
        if path.stem in BROKEN:
            broken.append(path)
        elif NAME.match(path.stem):
            files.append(TakeFile(path.stem, MEDIA.index(path.suffix.lower()), path))
        else:
            misnamed.append(path)
    if not files:
        raise UserError(
            f"{folder}: holds no wav, flv or mp4 named like 1001_DFA_ANG_XX, as CREMA-D's are; put "
            "AudioWAV/ or VideoFlash/ there"
        )
    note_passed_over("cremad", broken, "broken in the published release")
    note_passed_over("cremad", misnamed, "not named ACTOR_SENTENCE_EMOTION_LEVEL")
    return Corpus("cremad", tuple(EMOTIONS.values()), [_load_clip(p) for p in choose_takes(files)])


def _load_clip(path: Path) -> Clip:
    match = NAME.match(path.stem)
    if match["emotion"] not in EMOTIONS:
        raise UserError(
            f"{path}: emotion {match['emotion']} is not one of {' '.join(EMOTIONS)}; "
            "correct the name"
        )
    emotion = list(EMOTIONS).index(match["emotion"])
    return acted_clip(path, match["actor"], emotion)


def parse_name(stem: str) -> Named:
    """Who speaks and the emotion, where the name is of the scheme."""
    match = NAME.match(stem)
    if match is None or match["emotion"] not in EMOTIONS:
        return Named(stem, None, Labels())
    emotion = list(EMOTIONS).index(match["emotion"])
    return Named(stem, match["actor"], Labels(emotion, emotion, emotion))
