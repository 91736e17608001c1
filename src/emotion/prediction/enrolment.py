"""Whose voice it is: a model that reads features normalised by speaker answers a media file only
beside a folder of features of that person's other clips.
"""

from collections.abc import Sequence
from pathlib import Path

from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.prediction.fitting import check_settings
from emotion.prediction.members import Member
from emotion.records import Clip

MEND = (
    "run preprocess.py on other clips of that person (--corpus table has a column for the speaker) "
    "and give their folder to --features_dir"
)


def enrolled(clips: Sequence[Clip], members: Sequence[Member], folder: str) -> list[Clip]:
    """Media files, each with the speaker against whose other clips it is read.

    Args:
        clips: of media files; one without a speaker is the only one of the folder.
        members: the models; where none knows speakers, the clips stay as they are.
        folder: features of the enrolled speakers.

    Raises:
        UserError: no such folder, one of other features, or a speaker whom it does not know.
    """
    member = next((member for member in members if member.by_speaker), None)
    if member is None or not clips:
        return list(clips)
    if not folder:
        raise UserError(
            f"--input {clips[0].path}: {member.checkpoint.path} reads features normalised by "
            f"speaker, and a file does not say whose it is; {MEND}"
        )
    speakers = _speakers(FeatureStore(Path(folder)), member)
    return [clip._replace(speaker=_whose(clip, speakers, folder)) for clip in clips]


def _speakers(store: FeatureStore, member: Member) -> list[str]:
    description = store.read_description()
    if description is None:
        raise UserError(f"--features_dir {store.root}: holds no features; {MEND}")
    settings, path = description["settings"], member.checkpoint.path
    check_settings(store, settings, member.recipe, member.settings, path)
    records = (record for split in store.splits() for record in store.read_manifest(split))
    return sorted({record.speaker for record in records})


def _whose(clip: Clip, speakers: Sequence[str], folder: str) -> str:
    if clip.speaker in speakers:
        return clip.speaker
    if clip.speaker is None and len(speakers) == 1:
        return speakers[0]
    who = f"is of speaker {clip.speaker}" if clip.speaker else "may be of any of its speakers"
    raise UserError(
        f"--input {clip.path}: {who}, and --features_dir {folder} knows {' '.join(speakers)}; give "
        "the folder of one person's clips"
    )
