"""``report.html``: one page with its pictures in it, that needs no network and no other file."""

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader

from emotion.emotions import colours, full_names
from emotion.prediction.inputs import Item

TEMPLATE = "report.html"
FEW = 10  # speakers, below which an interval over them is too narrow
SOUND = (".wav", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".aac", ".wma")


class Picture(NamedTuple):
    """A PNG of the page."""

    caption: str
    path: Path
    media: str = ""  # address of the clip that it shows, to be played, where there is a file
    tag: str = "video"  # what plays it

    @property
    def uri(self) -> str:
        """The picture itself, as an address."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


def media_of(item: Item, folder: Path) -> dict[str, str]:
    """``media`` and ``tag`` of a clip's picture in a page of ``folder``; nothing of a clip of
    features/, whose file nobody knows.
    """
    path = item.clip.path
    if item.store is not None or path is None or not path.is_file():
        return {}
    beside = os.path.relpath(path.resolve(), folder.resolve())
    tag = "audio" if path.suffix.lower() in SOUND else "video"
    return {"media": quote(os.fsencode(beside)), "tag": tag}


def render(
    numbers: dict[str, Any], pictures: dict[str, list[Picture]], class_names: Sequence[str]
) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["full"] = dict(zip(class_names, full_names(class_names), strict=True)).get
    environment.filters["shade"] = dict(zip(class_names, colours(class_names), strict=True)).get
    return environment.get_template(TEMPLATE).render(**numbers, pictures=pictures, few=FEW)
