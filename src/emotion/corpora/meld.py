"""MELD (Poria et al. 2019, arXiv 1810.02508): utterances of a television series, seven emotions.

``{train,dev,test}_sent_emo.csv`` hold the transcripts and labels; ``dia<D>_utt<U>.mp4`` the clips,
in one folder a split, because the numbers begin again in each. Without clips the transcripts alone
are a corpus. The cast recurs in all splits; neutral is half of the test set, so weighted and macro
F1 say more than accuracy.
"""

import re
from pathlib import Path

from emotion.corpora.dialogues import with_past
from emotion.corpora.rows import Row, read_rows
from emotion.corpora.takes import files_below
from emotion.errors import UserError
from emotion.records import Clip, Corpus, Labels
from emotion.telling import note

CLASS_NAMES = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
SPLITS = {"train": "train", "dev": "val", "test": "test"}  # MELD's name -> ours
# Folders of the published archives. The test archive also holds takes that the lists do not name
# (final_videos_testdia*), which its name scheme keeps out.
MEDIA_FOLDERS = {
    "train_splits": "train",
    "dev_splits_complete": "dev",
    "output_repeated_splits_test": "test",
}
NAME = re.compile(r"^dia(?P<dialogue>\d+)_utt(?P<utterance>\d+)$")


def load(folder: Path) -> Corpus:
    """The utterances of every list below ``folder``, with their clips where they are there.

    Raises:
        UserError: a list is missing, or has other columns or labels.
    """
    lists = {split: _find_list(folder, split) for split in SPLITS}
    media = _find_media(folder)
    rows = [(row, split) for split, path in lists.items() for row in read_rows(path, COLUMNS)]
    clips = [_load_clip(row, split, media) for row, split in rows]
    silent = [clip for clip in clips if clip.path is None]
    if media and silent:
        note(f"meld: {len(silent)} of {len(clips)} utterances have no mp4: {silent[0].stem}")
    return Corpus("meld", CLASS_NAMES, with_past(clips, [row["Dialogue_ID"] for row, _ in rows]))


def _find_list(folder: Path, split: str) -> Path:
    name = f"{split}_sent_emo.csv"
    found = sorted(folder.rglob(name))
    if not found:
        raise UserError(
            f"{folder}: holds no {name}; MELD is the three files "
            "{train,dev,test}_sent_emo.csv, with or without the folders of mp4 files"
        )
    return found[0]


def _find_media(folder: Path) -> dict[tuple[str, int, int], Path]:
    """Clips by split, dialogue and utterance; the folder nearest to a file names its split."""
    media = {}
    for path in files_below(folder, (".mp4",)):
        match = NAME.match(path.stem)
        parents = (part for part in reversed(path.relative_to(folder).parts[:-1]))
        split = next((s for s in map(_split_of, parents) if s), None)
        if match and split:
            media[split, int(match["dialogue"]), int(match["utterance"])] = path
    return media


def _split_of(folder_name: str) -> str | None:
    name = folder_name.lower()
    return MEDIA_FOLDERS.get(name) or (name if name in SPLITS else None)


def _load_clip(row: Row, split: str, media: dict[tuple[str, int, int], Path]) -> Clip:
    emotion = row["Emotion"].lower()
    if emotion not in CLASS_NAMES:
        raise UserError(
            f"{row.source}: emotion {row['Emotion']!r} is not one of {' '.join(CLASS_NAMES)}"
        )
    try:
        place = int(row["Dialogue_ID"]), int(row["Utterance_ID"])
    except ValueError:
        raise UserError(
            f"{row.source}: Dialogue_ID and Utterance_ID are not whole numbers"
        ) from None
    stem = f"dia{place[0]}_utt{place[1]}"
    label = CLASS_NAMES.index(emotion)
    return Clip(
        id=stem,
        stem=stem,
        path=media.get((split, *place)),
        split=SPLITS[split],
        speaker=row["Speaker"] or None,
        labels=Labels(label, label, label),
        text=None,
        transcript=row["Utterance"],
    )
