"""Names and colours of emotions: the same in every picture, and told apart by everybody."""

from itertools import combinations

import numpy as np
import pytest

from emotion.corpora import meld, qia2020, ravdess
from emotion.emotions import COLOURS, colours, full_names, on

# What people see who lack one of the three cones, of linear RGB: Machado et al. 2009, severity 1
EYES = {
    "all": np.eye(3),
    "protanopia": np.array(
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]
    ),
    "deuteranopia": np.array(
        [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
    ),
    "tritanopia": np.array(
        [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9309, 0.1476], [0.0047, 0.6914, 0.3039]]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour, eyes):
    """CIELAB of ``#rrggbb`` as ``eyes`` see it."""
    code = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(eyes @ linear, 0, 1) / (0.9505, 1.0, 1.089)
    a, b, c = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * b - 16, 500 * (a - b), 200 * (b - c)])


@pytest.mark.parametrize("eyes", EYES.values(), ids=EYES)
def test_everybody_tells_the_colours_apart(eyes):
    for first, second in combinations(COLOURS.values(), 2):
        assert np.linalg.norm(lab(first, eyes) - lab(second, eyes)) > 20, (first, second)


def test_an_emotion_keeps_its_colour_and_name_whatever_the_corpus():
    named = {}
    for names in (qia2020.EMOTIONS, ravdess.CLASS_NAMES, meld.CLASS_NAMES):
        for name, colour in zip(full_names(names), colours(names), strict=True):
            assert named.setdefault(name, colour) == colour
    assert named.pop("joy") == named["happiness"]
    assert named == {name: COLOURS[name] for name in named}
    assert set(named) == {*list(COLOURS)[:8]}


def test_strange_classes_get_colours_of_their_own_in_whatever_order():
    names = ("ang", "tense", "$x$", "", "joy", "happy", "일")
    found = dict(zip(names, colours(names), strict=True))
    assert len(set(found.values())) == len(names)
    assert dict(zip(names[::-1], colours(names[::-1]), strict=True)) == found
    assert colours(["ang", "tense", "sad"])[1] == colours(["tense"])[0]
    assert len(colours([f"class {number}" for number in range(40)])) == 40


def test_two_classes_of_one_name_keep_their_own():
    assert full_names(("hap", "happy", "sad")) == ["hap", "happy", "sadness"]


def test_words_can_be_read_upon_every_colour():
    for colour in COLOURS.values():
        light, _, _ = lab(colour, EYES["all"])
        assert on(colour) == ("black" if light > 57 else "white")
