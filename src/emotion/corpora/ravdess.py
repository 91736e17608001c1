"""RAVDESS (Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391): speech, and song apart.

Files are named ``MM-VV-EE-II-SS-RR-AA``: modality (01 audio and video, 02 video, 03 audio), vocal
channel (01 speech, 02 song), emotion, intensity, statement, repetition, actor. The audio-only files
are the same takes as the audiovisual ones, so one take is one clip: audio and video where it can be
had. Two sentences only, so there is no text. There are no official splits: the one split is
``all``, and folds are by actor. Songs have six of the eight emotions and are a corpus of their own
(``ravdess_song``), so that the figures of one do not hide in those of the other.
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

CLASS_NAMES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
MEDIA = (".mp4", ".wav", ".flac")
NAME = re.compile(
    r"^(?P<modality>0[123])(?P<take>-(?P<channel>0[12])-(?P<emotion>\d\d)-0[12]-0[12]-0[12]"
    r"-(?P<actor>\d\d))$"
)
MODALITY_ORDER = ("01", "03", "02")  # the first that exists stands for the take
CHANNELS = {"speech": "01", "songs": "02"}


def sex_of(actor: str) -> str:
    """Odd numbers are men's, even ones women's."""
    return "male" if int(actor) % 2 else "female"


def parse_name(stem: str) -> Named:
    """Who speaks and the emotion, where the name is of the scheme."""
    match = NAME.match(stem)
    if match is None or not 1 <= int(match["emotion"]) <= len(CLASS_NAMES):
        return Named(stem, None, Labels())
    emotion = int(match["emotion"]) - 1
    labels = Labels(emotion, emotion, emotion)
    return Named(stem, match["actor"], labels, sex_of(match["actor"]))


def load(folder: Path) -> Corpus:
    """All spoken takes below ``folder``, whatever the depth of its folders.

    Raises:
        UserError: no file is named after the scheme, or an emotion number is not from 01 to 08.
    """
    return Corpus("ravdess", CLASS_NAMES, load_channel(folder, "speech", CLASS_NAMES))


def load_channel(folder: Path, wanted: str, class_names: tuple[str, ...]) -> list[Clip]:
    """All takes of the ``speech`` or the ``songs``.

    Raises:
        UserError: there are none, or an emotion number is not one of ``class_names``.
    """
    channels: dict[str, list[TakeFile]] = {code: [] for code in CHANNELS.values()}
    misnamed = []
    for path in files_below(folder, MEDIA):
        match = NAME.match(path.stem)
        if match is None:
            misnamed.append(path)
            continue
        rank = MODALITY_ORDER.index(match["modality"])
        channels[match["channel"]].append(TakeFile(match["take"], rank, path))
    files = channels.pop(CHANNELS[wanted])
    if not files:
        raise _nothing_found(folder, wanted, any(channels.values()))
    note_passed_over("ravdess", misnamed, "not named MM-VV-EE-II-SS-RR-AA")
    return [_load_clip(path, class_names) for path in choose_takes(files)]


def _nothing_found(folder: Path, wanted: str, others: bool) -> UserError:
    if others:
        other = (
            "songs; give --corpus ravdess_song"
            if wanted == "speech"
            else ("speech; give --corpus ravdess")
        )
        return UserError(f"{folder}: holds no {wanted} of RAVDESS, only {other}")
    return UserError(
        f"{folder}: holds no mp4, wav or flac named MM-VV-EE-II-SS-RR-AA, as RAVDESS's are"
    )


def _load_clip(path: Path, class_names: tuple[str, ...]) -> Clip:
    match = NAME.match(path.stem)
    emotion = int(match["emotion"]) - 1
    if not 0 <= emotion < len(class_names):
        raise UserError(
            f"{path}: emotion {match['emotion']} is not from 01 to {len(class_names):02d}; "
            "correct the name"
        )
    return acted_clip(path, match["actor"], emotion, sex_of(match["actor"]))
