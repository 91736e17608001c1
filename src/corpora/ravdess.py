"""RAVDESS speech (Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391).

Files are named ``MM-VV-EE-II-SS-RR-AA``: modality (01 audio and video, 02 video, 03 audio), vocal
channel, emotion, intensity, statement, repetition, actor. The audio-only files are the same takes
as the audiovisual ones, so one take is one clip: audio and video where it can be had. Two sentences
only, so there is no text. There are no official splits: the one split is ``all``, and folds are by
actor.
"""

import re
from pathlib import Path

from src.corpora.clip import Clip, Corpus, Labels
from src.errors import UserError

CLASS_NAMES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
MEDIA = (".mp4", ".wav", ".flac")
NAME = re.compile(
    r"^(?P<modality>\d\d)(?P<take>-\d\d-(?P<emotion>\d\d)-\d\d-\d\d-\d\d-(?P<actor>\d\d))$"
)
SPEECH_CHANNEL = "01"
MODALITY_ORDER = ("01", "03", "02")  # the first that exists stands for the take


def load(folder: Path) -> Corpus:
    """All takes below ``folder``, whatever the depth of its folders.

    Raises:
        UserError: no file is named after the scheme, or an emotion number is not from 01 to 08.
    """
    takes: dict[str, tuple[int, Path, re.Match[str]]] = {}
    for path in sorted(folder.rglob("*")):
        match = NAME.match(path.stem)
        if match is None or path.suffix.lower() not in MEDIA or _is_song(match):
            continue
        rank = MODALITY_ORDER.index(match["modality"]) if match["modality"] in MODALITY_ORDER else 9
        if match["take"] not in takes or rank < takes[match["take"]][0]:
            takes[match["take"]] = (rank, path, match)
    if not takes:
        raise UserError(
            f"{folder}: holds no mp4, wav or flac named MM-VV-EE-II-SS-RR-AA, as RAVDESS's are"
        )
    clips = [
        _load_clip(path, match)
        for _, path, match in sorted(takes.values(), key=lambda t: t[1].stem)
    ]
    return Corpus("ravdess", CLASS_NAMES, clips)


def _is_song(match: re.Match[str]) -> bool:
    return match["take"][1:3] != SPEECH_CHANNEL


def _load_clip(path: Path, match: re.Match[str]) -> Clip:
    emotion = int(match["emotion"]) - 1
    if not 0 <= emotion < len(CLASS_NAMES):
        raise UserError(
            f"{path}: emotion {match['emotion']} is not from 01 to 08; correct the name"
        )
    return Clip(
        id=path.stem,
        stem=path.stem,
        path=path,
        split="all",
        speaker=match["actor"],
        labels=Labels(emotion, emotion, emotion),
        text=None,
    )
