"""A line below every picture, whoever draws it: pictures go from hand to hand by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from matplotlib.figure import Figure

COLOUR = "#b35900"
_line: ContextVar[str] = ContextVar("line", default="")


@contextmanager
def captioned(line: str) -> Iterator[None]:
    """Pictures saved within carry this line; an empty one is none."""
    token = _line.set(line)
    try:
        yield
    finally:
        _line.reset(token)


def caption() -> str:
    """The line that pictures carry now."""
    return _line.get()


def add_caption(figure: Figure) -> None:
    """Write the line, if there is one, below a figure that is laid out by constraints."""
    if line := _line.get():
        figure.supxlabel(line, fontsize=8, color=COLOUR)
