"""Emotions as people see them in every picture: full names, and a colour that is theirs alone.

Red anger, blue sadness, yellow happiness and so on, whatever the corpus calls them and in whatever
order. The colours are told apart by people with any of the three colour blindnesses: at least 20
CIELAB units between any two in the simulation of Machado et al. 2009 (``tests/test_emotions.py``).
"""

import hashlib
from collections.abc import Sequence

COLOURS = {
    "anger": "#c40000",
    "sadness": "#2e61e4",
    "happiness": "#ffea02",
    "fear": "#3a0d72",
    "disgust": "#54b16b",
    "surprise": "#7feeff",
    "neutral": "#727272",
    "calm": "#d1ffc9",
    "contempt": "#f97602",
    "boredom": "#6e342c",
    "excitement": "#d57aba",
    "frustration": "#2b001d",
}
NAMES = {  # what corpora write -> the full name; what is not here is its own
    "ang": "anger", "angry": "anger",
    "sad": "sadness",
    "hap": "happiness", "happy": "happiness",
    "fea": "fear", "fearful": "fear",
    "dis": "disgust", "disgusted": "disgust",
    "sur": "surprise", "surprised": "surprise",
    "neu": "neutral", "neutrality": "neutral",
    "cal": "calm", "calmness": "calm",
    "con": "contempt", "bor": "boredom", "bored": "boredom",
    "exc": "excitement", "excited": "excitement",
    "fru": "frustration", "frustrated": "frustration",
}  # fmt: skip
SAME = {"joy": "happiness"}  # another word for it: shown as it is, in its colour
RARE = tuple(COLOURS.values())[8:]  # taken first by classes that are no known emotion
MORE = ("#000000", "#b8a800", "#008b8b", "#ff4fd8", "#bdbdbd", "#9edae5", "#c5b0d5")


def full_name(class_name: str) -> str:
    """``hap`` is happiness; a class that nobody knows keeps its name."""
    return NAMES.get(class_name.lower(), class_name)


def full_names(class_names: Sequence[str]) -> list[str]:
    """Of all classes of a corpus; where two would be called the same, those keep their own."""
    names = [full_name(name) for name in class_names]
    return [
        own if names.count(name) > 1 else name for name, own in zip(names, class_names, strict=True)
    ]


def colours(class_names: Sequence[str]) -> list[str]:
    """A colour a class, as ``#rrggbb``.

    A class that is no known emotion gets one of the colours that the corpus leaves, chosen by its
    name, so that the order of the classes changes nothing.
    """
    taken: dict[str, str] = {}
    strangers = []
    for class_name in sorted(class_names):
        emotion = full_name(class_name).lower()
        colour = COLOURS.get(SAME.get(emotion, emotion))
        if colour is None or colour in taken.values():
            strangers.append(class_name)
        else:
            taken[class_name] = colour
    for class_name in strangers:
        order = _preferred(class_name)
        free = [colour for colour in order if colour not in taken.values()]
        taken[class_name] = (free or order)[0]
    return [taken[name] for name in class_names]


def _preferred(class_name: str) -> list[str]:
    """All colours, from the one that a name's own hash says."""
    first = hashlib.sha256(class_name.encode(errors="surrogateescape")).digest()[0] % len(RARE)
    common = [colour for colour in COLOURS.values() if colour not in RARE]
    return [*RARE[first:], *RARE[:first], *common, *MORE]


def on(colour: str) -> str:
    """Black or white, whichever can be read upon a colour."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
