"""What is said in a clip: words with the times at which they are said, where those are known."""

import difflib
import re
from collections.abc import Iterable, Sequence
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np

from emotion.inputs.feature import Window

UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})  # written without spaces
# Vocabularies know the marks of a typewriter; subtitles have those of a printer.
PLAIN_MARKS = {
    0x2018: "'",
    0x2019: "'",
    0x201C: '"',
    0x201D: '"',
    0x2013: "-",
    0x2014: "-",
    0x2026: "...",
}


class Word(NamedTuple):
    """A word of a clip, with the marks that cling to it."""

    text: str
    start: float = nan  # seconds of the clip; NaN where nobody knows
    end: float = nan

    @property
    def middle(self) -> float:
        """When it is said."""
        return (self.start + self.end) / 2


class Spoken(NamedTuple):
    """The words of a clip."""

    words: tuple[Word, ...] = ()
    language: str = ""  # a code such as en; empty where nobody knows
    confidence: float = nan  # from 0 to 1, of who heard them

    @property
    def text(self) -> str:
        """All words in a line."""
        return self._space.join(word.text for word in self.words)

    @property
    def timed(self) -> list[Word]:
        """The words whose times are known."""
        return [word for word in self.words if not isnan(word.start)]

    @property
    def _space(self) -> str:
        return "" if self.language in UNSPACED else " "

    def times(self, spans: np.ndarray) -> np.ndarray:
        """When parts of ``text`` are said, such as sub-words: the middle of the word that a part
        begins in.

        Args:
            spans: int (N, 2), first character and one past the last of each part.

        Returns:
            float32 (N,) seconds, NaN where nobody knows.
        """
        lengths = [len(word.text) + len(self._space) for word in self.words]
        place = np.searchsorted(np.cumsum(lengths), spans[:, 0], side="right")
        middles = np.array([word.middle for word in self.words] or [nan], np.float32)
        return middles[np.minimum(place, len(middles) - 1)]

    def within(self, window: Window) -> "Spoken":
        """The words whose middle lies in a window, on its clock; those without times do not."""
        inside = [w for w in self.timed if window.start <= w.middle < window.end]
        moved = [
            Word(w.text, max(w.start - window.start, 0.0), min(w.end, window.end) - window.start)
            for w in inside
        ]
        return self._replace(words=tuple(moved))

    def corrected(self, text: str) -> "Spoken":
        """The same with another text. Words that stay keep their times; those in their place share
        the time between their neighbours, each as much as it is long.
        """
        said = _split(text, self.language)
        before, after = ([_bare(word) for word in words] for words in (self._texts, said))
        words: list[Word] = []
        matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
        for kind, first, last, start, end in matcher.get_opcodes():
            old, new = self.words[first:last], said[start:end]
            if kind == "equal":
                words += [Word(t, *w[1:]) for t, w in zip(new, old, strict=True)]
            elif new:
                words += spread(new, *self._room(first, last))
        return self._replace(words=tuple(words))

    @property
    def _texts(self) -> list[str]:
        return [word.text for word in self.words]

    def _room(self, first: int, last: int) -> tuple[float, float]:
        """The time of some words; of none, the gap that they would be in."""
        if first < last:
            return self.words[first].start, self.words[last - 1].end
        before = self.words[first - 1].end if first else nan
        after = self.words[first].start if first < len(self.words) else nan
        return (after if isnan(before) else before), (before if isnan(after) else after)


def spread(words: Sequence[str], start: float, end: float) -> list[Word]:
    """Words that share a stretch of time, each as much as it is long."""
    edges = np.cumsum([0, *(len(word) for word in words)]) / max(sum(map(len, words)), 1)
    times = (start + (end - start) * edges).tolist()
    return [Word(*one) for one in zip(words, times[:-1], times[1:], strict=True)]


def spoken_of(text: str, language: str = "") -> Spoken:
    """A text without times."""
    return Spoken(tuple(Word(word) for word in _split(text, language)), language)


def cleaned(words: Iterable[Word]) -> tuple[Word, ...]:
    """The words in plain marks, without those that are empty."""
    known = (word._replace(text="".join(clean(word.text).split())) for word in words)
    return tuple(word for word in known if word.text)


def clean(text: str) -> str:
    """One line, with the typewriter's quotes, dashes and dots."""
    return re.sub(r"\s+", " ", text.translate(PLAIN_MARKS)).strip()


def describe(spoken: Spoken) -> dict[str, Any]:
    """Plain values for JSON; a time that nobody knows is None."""
    return {
        "language": spoken.language,
        "confidence": _known(spoken.confidence),
        "words": [[w.text, _known(w.start), _known(w.end)] for w in spoken.words],
    }


def restore(described: dict[str, Any]) -> Spoken:
    """Back from JSON.

    Raises:
        ValueError, TypeError, LookupError: it is not what ``describe`` gave.
    """
    words = [Word(str(text), _number(a), _number(b)) for text, a, b in described["words"]]
    return Spoken(tuple(words), str(described["language"]), _number(described["confidence"]))


def _bare(word: str) -> str:
    """What makes two spellings the same word: small letters, without the marks around them."""
    return re.sub(r"^\W+|\W+$", "", word).lower() or word


def _known(value: float) -> float | None:
    return None if isnan(value) else round(float(value), 3)


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _split(text: str, language: str) -> list[str]:
    text = clean(text)
    return list(text.replace(" ", "")) if language in UNSPACED else text.split()
