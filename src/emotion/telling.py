"""Lines to the person at the terminal: whole, and free of what a terminal would act on."""

import sys
import unicodedata
from typing import Any

# what a terminal acts on or ends a line with, and lone surrogates: bytes that are no UTF-8
ACTIVE = frozenset({"Cc", "Zl", "Zp", "Cs"})
BIDIRECTIONAL = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def is_active(letter: str) -> bool:
    """Whether a letter does something to a terminal other than to stand there."""
    return letter in BIDIRECTIONAL or unicodedata.category(letter) in ACTIVE


def printable(text: Any) -> str:
    r"""Text as one line in which every active letter is shown as its code: ESC is ``\x1b``.

    File names may hold any of them: a line break splits a line in two, an escape sequence recolours
    or renames the terminal, a mark of direction turns what follows.
    """
    return "".join(
        letter.encode("unicode_escape").decode() if is_active(letter) else letter
        for letter in str(text)
    )


def one_line(text: Any) -> str:
    """``printable``, with runs of spaces and line breaks become one space."""
    return printable(" ".join(str(text).split()))


def say(line: str) -> None:
    """A whole line on stdout, for ``>> logs.txt``."""
    print(printable(line), flush=True)


def note(line: str) -> None:
    """What a person should know, on stderr."""
    tell(f"note: {line}")


def tell(line: str) -> None:
    """A line on stderr that leaves a progress bar whole."""
    bars = sys.modules.get("tqdm")
    if bars:
        bars.tqdm.write(one_line(line), file=sys.stderr)
    else:
        print(one_line(line), file=sys.stderr)
