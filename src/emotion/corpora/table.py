"""Your own data: a CSV file with one row per clip.

``path,label`` and, where they are known, ``id, face_label, speech_label, speaker, sex, split,
transcript, dialogue``, and files of one's own features: ``speech_vectors, face_vectors,
text_vectors``. Paths count from the folder of the file. A row without a path is a transcript or
vectors alone, and wants an ``id``. Without the column ``split`` there is one split, ``all``, and
folds are by speaker. Rows of one ``dialogue`` stand in the order in which they are said. An empty
label is a clip to be predicted. Class names are the labels that occur, sorted.
"""

from collections import Counter
from pathlib import Path

from emotion.command_line import nearest
from emotion.corpora.dialogues import with_past
from emotion.corpora.rows import Row, read_rows
from emotion.errors import UserError
from emotion.records import Clip, Corpus, Labels
from emotion.telling import note

NAME = "table.csv"
FEW = 2  # rows of a class that may be a mistake in typing
LABELS = {"integrated": "label", "face": "face_label", "speech": "speech_label"}
VECTORS = {f"{name}:vectors": f"{name}_vectors" for name in ("speech", "face", "text")}
SPLITS = {
    "": "all",
    "all": "all",
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


def load(folder: Path, known: tuple[str, ...] = ()) -> Corpus:
    """The clips of ``folder/table.csv``, or of ``folder`` itself where it is the file.

    Args:
        folder: that holds it.
        known: names of the classes, where a model has learnt some; labels may then be missing.

    Raises:
        UserError: no such file, no such column, no labels, a row without a name or split, a file in
            two splits, or none of the files is there.
    """
    path = folder / NAME if folder.is_dir() else folder
    if not path.is_file():
        raise UserError(
            f"{folder}: holds no {NAME}; write one with the columns path,label, or give the file "
            "itself to --data_dir"
        )
    rows = read_rows(path, ("path",) if known else ("path", "label"))
    labels = {row[column] for row in rows for column in LABELS.values()} - {""}
    class_names = known or tuple(sorted(labels))
    if odd := sorted(labels - set(class_names)):
        raise UserError(f"{path}: the label {odd[0]!r} is not one of {' '.join(class_names)}")
    if not class_names:
        note(f"{path}: without a label: these clips can be heard and answered, not trained on")
    if not known:
        _tell_rare(path, rows, class_names)
    clips = [_load_clip(row, path.parent, class_names) for row in rows]
    _check_files(path, clips)
    _check_splits(path, clips)
    return Corpus("table", class_names, with_past(clips, [row["dialogue"] for row in rows]))


def _tell_rare(path: Path, rows: list[Row], class_names: tuple[str, ...]) -> None:
    """A line for each class of few rows whose name looks like another's."""
    counts = Counter(row["label"] for row in rows)
    for name in class_names:
        often = [other for other in class_names if counts[other] > FEW * counts[name]]
        if 0 < counts[name] <= FEW and (hint := nearest(name, often)):
            note(f"{path}: {counts[name]} of {len(rows)} rows are {name!r}{hint}")


def _load_clip(row: Row, folder: Path, class_names: tuple[str, ...]) -> Clip:
    name = _name(row)
    labels = {
        kind: class_names.index(row[column]) if row[column] else None
        for kind, column in LABELS.items()
    }
    return Clip(
        id=name,
        stem=name,
        path=folder / row["path"] if row["path"] else None,
        split=_split(row),
        speaker=row["speaker"] or None,
        labels=Labels(**labels),
        text=None,
        transcript=row["transcript"],
        sex=row["sex"],
        vectors={name: folder / row[column] for name, column in VECTORS.items() if row[column]},
    )


def _name(row: Row) -> str:
    """The clip's id, or its path with what cannot stand in a file's name replaced."""
    if not (row["id"] or row["path"]):
        raise UserError(f"{row.source}: has neither path nor id; give one")
    if not any(row[column] for column in ("path", "transcript", *VECTORS.values())):
        raise UserError(f"{row.source}: has neither path nor transcript nor vectors; give one")
    return name_of(row["id"] or str(Path(row["path"]).with_suffix("")))


def name_of(name: str) -> str:
    """An id, or a path without its ending, as a file may be called."""
    return name.strip("/\\").replace("/", "__").replace("\\", "__").replace("..", "_")


def _split(row: Row) -> str:
    split = SPLITS.get(row["split"].lower())
    if split is None:
        raise UserError(f"{row.source}: split {row['split']!r} is not one of train, val, test")
    return split


def _check_files(path: Path, clips: list[Clip]) -> None:
    """One file that is missing is a failure of its clip; all of them are a wrong folder."""
    media = [clip.path for clip in clips if clip.path is not None]
    if media and not any(file.is_file() for file in media):
        raise UserError(
            f"{path}: none of its {len(media)} files is there, the first is {media[0]}; paths "
            "count from the folder of the table"
        )


def _check_splits(path: Path, clips: list[Clip]) -> None:
    """Refuse what would make scores worthless, and say what may."""
    splits = {clip.split for clip in clips}
    if "all" in splits and len(splits) > 1:
        raise UserError(f"{path}: some rows have a split and some have none; fill the column")
    seen: dict[Path, Clip] = {}
    for clip in clips:
        if clip.path and seen.setdefault(clip.path, clip).split != clip.split:
            raise UserError(f"{path}: {clip.path} is in two splits; keep it in one")
    speakers = {
        split: {c.speaker for c in clips if c.split == split and c.speaker} for split in splits
    }
    shared = speakers.get("train", set()) & (
        speakers.get("val", set()) | speakers.get("test", set())
    )
    if shared:
        note(
            f"{path}: {len(shared)} speakers of train are in val or test too ({min(shared)}): "
            "scores will say little about new speakers"
        )
