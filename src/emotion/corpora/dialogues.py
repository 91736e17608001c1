"""What was said before a clip, where a corpus knows which clips are of one dialogue."""

from collections.abc import Sequence

from emotion.records import Clip

MOST_PAST = 20  # transcripts that a clip remembers; a text encoder reads no more


def with_past(clips: Sequence[Clip], dialogues: Sequence[str]) -> list[Clip]:
    """The clips with the transcripts that were said before each in its dialogue, the last one last.

    Nothing that comes later is ever among them, and nothing of another split: dialogues that share
    a name there are others.

    Args:
        clips: in the order in which they are said.
        dialogues: the name of each clip's dialogue; empty for a clip on its own.
    """
    said: dict[tuple[str, str], list[str]] = {}
    found = []
    for clip, dialogue in zip(clips, dialogues, strict=True):
        before = said.setdefault((clip.split, dialogue), []) if dialogue else []
        found.append(clip._replace(past=tuple(before[-MOST_PAST:])))
        if clip.transcript:
            before.append(clip.transcript)
    return found
