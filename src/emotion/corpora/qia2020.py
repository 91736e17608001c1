"""QIA2020 / MERC2020: Korean actors, seven emotions, three labels per clip.

Two naming schemes are in use, and both are read::

    {train,val,test}/<FileID>-<integrated>-<face>-<speech>.mp4     labels in the name
    {train,val,test}/<FileID>[-anything].mp4                       labels in {train,val}.csv,
                                                                   _face.csv and _speech.csv

``<FileID>.npz`` beside a clip holds ``word_embed``: float (words, 200). Test clips carry no label.
"""

import re
from pathlib import Path

from emotion.corpora.rows import read_rows
from emotion.errors import UserError
from emotion.records import Clip, Corpus, Labels, Named

EMOTIONS = ("hap", "ang", "dis", "fea", "sad", "neu", "sur")  # happiness, anger, ... surprise
SPLITS = ("train", "val", "test")
MEDIA = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4a", ".wav", ".flac")

LABELLED_NAME = re.compile(r"^(?P<id>[^-]+)-(?P<labels>[A-Za-z]{3}-[A-Za-z]{3}-[A-Za-z]{3})$")
LABEL_FILES = {
    "integrated": "{split}.csv",
    "face": "{split}_face.csv",
    "speech": "{split}_speech.csv",
}


def load(folder: Path) -> Corpus:
    """All clips of the splits that exist below ``folder``.

    Raises:
        UserError: no split folder, an empty split, or a label that is not one of the seven.
    """
    splits = [split for split in SPLITS if (folder / split).is_dir()]
    if not splits:
        raise UserError(
            f"{folder}: holds none of the folders {', '.join(SPLITS)}; "
            "put the clips into <split>/<FileID>-<integrated>-<face>-<speech>.mp4"
        )
    clips = [clip for split in splits for clip in _load_split(folder, split)]
    return Corpus("qia2020", EMOTIONS, clips)


def parse_name(stem: str) -> Named:
    """FileID and labels of a clip's name; no labels where the name carries none.

    Raises:
        UserError: the name has the form of the labelled scheme, with a label that is none.
    """
    match = LABELLED_NAME.match(stem)
    if match is None:
        return Named(stem.split("-")[0], None, Labels())
    words = match["labels"].split("-")
    labels = Labels(*(parse_emotion(word, f"clip {stem}") for word in words))
    return Named(match["id"], None, labels)


def parse_emotion(text: str, source: str) -> int:
    """Class index 0-6 of a label such as ``hap``; ``source`` names the file for the error.

    Raises:
        UserError: the label is not one of the seven.
    """
    label = text.strip().lower()
    if label not in EMOTIONS:
        raise UserError(
            f"{source}: label {text!r} is not one of {' '.join(EMOTIONS)}; "
            "correct it or move the file away"
        )
    return EMOTIONS.index(label)


def _load_split(folder: Path, split: str) -> list[Clip]:
    paths = sorted(p for p in (folder / split).iterdir() if p.suffix.lower() in MEDIA)
    if not paths:
        raise UserError(f"{folder / split}: holds no clips; put them there or remove the folder")
    tables = {
        kind: _read_labels(folder / name.format(split=split)) for kind, name in LABEL_FILES.items()
    }
    return [_load_clip(path, split, tables) for path in paths]


def _load_clip(path: Path, split: str, tables: dict[str, dict[str, int]]) -> Clip:
    identifier, _, labels, _ = parse_name(path.stem)
    if labels == Labels():
        labels = Labels(**{kind: table.get(identifier) for kind, table in tables.items()})
    text = path.with_name(f"{identifier}.npz")
    return Clip(
        id=identifier,
        stem=path.stem,
        path=path,
        split=split,
        speaker=None,
        labels=labels,
        text=text if text.is_file() else None,
    )


def _read_labels(path: Path) -> dict[str, int]:
    """``FileID,Emotion`` rows as FileID -> class index; empty where there is no such file."""
    if not path.is_file():
        return {}
    labels: dict[str, int] = {}
    for row in read_rows(path, ("FileID", "Emotion"), mixed=False):
        if not row["FileID"]:
            raise UserError(f"{row.source}: has no FileID; add it or remove the line")
        label = parse_emotion(row["Emotion"], row.source)
        if labels.setdefault(row["FileID"], label) != label:
            raise UserError(f"{row.source}: gives {row['FileID']} a second label; keep one")
    return labels
