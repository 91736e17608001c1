"""``features/<split>/contact.png``: what was made of some clips, to look at before training."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from emotion import registry
from emotion.emotions import colours, full_name, on
from emotion.errors import UserError, first_line
from emotion.files import write_atomic
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.lazy import Lazy
from emotion.records import Record
from emotion.telling import note, printable

NAME = "contact.png"
MOST, ACROSS = 24, 3  # clips, and how many of them stand beside one another
SIDE = 112  # pixels of a crop, and of a spectrogram's height
FACES = 2  # of each clip
WIDE = 2 * SIDE  # of a spectrogram
HEAD, GAP = 20, 10  # above a clip, and between two

mpl = Lazy("matplotlib")
Image, ImageDraw = Lazy("PIL.Image"), Lazy("PIL.ImageDraw")
fonts = Lazy("emotion.fonts")  # only who draws waits for matplotlib


def draw_contacts(store: FeatureStore, class_names: Sequence[str], anew: bool) -> None:
    """Draw the sheet of each split that has faces or voices; with ``anew`` also those that are
    there. A sheet that cannot be drawn costs a line.
    """
    for split in store.splits():
        path = store.root / split / NAME
        try:
            if not anew and path.is_file():
                continue
            chosen = choose([r for r in store.read_manifest(split) if _drawn(r)], MOST)
            if chosen:
                sheet = _sheet(store, split, chosen, class_names)
                write_atomic(path, lambda file, s=sheet: s.save(file, "PNG"), within=store.root)
        except (UserError, OSError, ValueError) as error:  # the features are worth more
            note(f"{path}: not drawn ({first_line(error)})")


def choose(records: Sequence[Record], most: int) -> list[Record]:
    """Clips of all labels in turn, of each label spread over the split's list."""
    by_label = defaultdict(list)
    for record in records:
        by_label[label_of(record)].append(record)
    share = -(-most // max(1, len(by_label)))
    spread = [
        [own[row] for row in np.unique(np.linspace(0, len(own) - 1, share).round().astype(int))]
        for _, own in sorted(by_label.items())
    ]
    return [record for record in chain(*zip_longest(*spread)) if record is not None][:most]


def label_of(record: Record) -> str:
    """The integrated label, or another where there is none."""
    return record.integrated or record.face or record.speech


def _features(record: Record, kind: str) -> Iterator[str]:
    """Names of the clip's features of a kind."""
    for name, line in registry.FEATURES.items():
        if line.kind == kind and record.state(name) == "ok":
            yield name


def _drawn(record: Record) -> bool:
    return any(chain(_features(record, registry.CROPS), _features(record, registry.SPECTROGRAM)))


def _sheet(
    store: FeatureStore, split: str, records: Sequence[Record], class_names: Sequence[str]
) -> Any:
    """The picture."""
    step = (FACES * SIDE + WIDE + GAP, HEAD + SIDE + GAP)
    rows = -(-len(records) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * step[0] + GAP, rows * step[1] + GAP), "white")
    shades = dict(zip(class_names, colours(class_names), strict=True))
    for number, record in enumerate(records):
        down, across = divmod(number, ACROSS)
        left, top = GAP + across * step[0], GAP + down * step[1]
        clip = StoredClip(store, split, record)
        _head(sheet, (left, top), record, shades)
        _faces(sheet, (left, top + HEAD), clip)
        _spectrogram(sheet, (left + FACES * SIDE, top + HEAD), clip)
    return sheet


def _head(sheet: Any, place: tuple[int, int], record: Record, shades: dict[str, str]) -> None:
    """The emotion on its colour, the clip's name and length."""
    draw, label = ImageDraw.Draw(sheet), label_of(record)
    left, middle = place[0], place[1] + HEAD // 2
    if label:
        name, shade = full_name(label), shades.get(label, "#ffffff")
        letters = fonts.font(12, name)
        wide = draw.textlength(name, letters) + 8
        draw.rectangle((left, place[1] + 1, left + wide, place[1] + HEAD - 2), fill=shade)
        draw.text((left + 4, middle), name, on(shade), letters, anchor="lm")
        left += round(wide) + 6
    said = printable(record.stem)
    room = (place[0] + FACES * SIDE + WIDE - left - 50) // 7  # letters
    said = said if len(said) <= room else f"…{said[1 - max(2, room) :]}"  # names differ at the end
    told = f"{said}  {record.duration:.1f} s"
    draw.text((left, middle), told, "black", fonts.font(12, said), anchor="lm")


def _faces(sheet: Any, place: tuple[int, int], clip: StoredClip) -> None:
    name = next(_features(clip.record, registry.CROPS), None)
    track = clip.read(name) if name else None
    found = np.flatnonzero(track.found) if track is not None else np.zeros(0, int)
    if not len(found):
        _instead(sheet, place, FACES * SIDE, f"face: {clip.record.state('video')}")
        return
    rows = found[((np.arange(FACES) + 0.5) / FACES * len(found)).astype(int)]
    for number, picture in enumerate(track.decode(rows, SIDE)):
        sheet.paste(Image.fromarray(picture), (place[0] + number * SIDE, place[1]))


def _spectrogram(sheet: Any, place: tuple[int, int], clip: StoredClip) -> None:
    name = next(_features(clip.record, registry.SPECTROGRAM), None)
    if name is None:
        _instead(sheet, place, WIDE, f"voice: {clip.record.state('speech')}")
        return
    levels = clip.read(name)[::-1].astype(np.float32)  # low below
    painted = Image.fromarray(mpl.colormaps["magma"](levels, bytes=True)[..., :3])
    sheet.paste(painted.resize((WIDE, SIDE), Image.BILINEAR), place)


def _instead(sheet: Any, place: tuple[int, int], wide: int, said: str) -> None:
    """A grey field that says why there is nothing."""
    draw, (left, top) = ImageDraw.Draw(sheet), place
    draw.rectangle((left, top, left + wide - 1, top + SIDE - 1), fill="#eaeef2")
    middle = (left + wide / 2, top + SIDE / 2)
    draw.text(middle, said.replace("_", " "), "#57606a", fonts.font(12), anchor="mm")
