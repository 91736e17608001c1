"""Lines to the person at the terminal: whole, and free of what a terminal would act on."""

import sys
from typing import Any


def printable(text: Any) -> str:
    """Without control characters, escape sequences and marks that turn the writing direction.

    File names may hold any of them: a line break splits a line in two, an escape sequence recolours
    or renames the terminal. Each is shown as its code.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
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
