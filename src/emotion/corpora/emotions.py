"""The seven emotions of QIA2020 / MERC2020, and how their labels are written."""

from emotion.errors import UserError

EMOTIONS = ("hap", "ang", "dis", "fea", "sad", "neu", "sur")
EMOTION_NAMES = ("happiness", "anger", "disgust", "fear", "sadness", "neutral", "surprise")


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
