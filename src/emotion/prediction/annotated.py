"""``--video out.mp4``: the clip with a box around the face, the answer's name and bars beside it,
its sound kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from emotion.emotions import colours, full_names, on
from emotion.errors import UserError, first_line
from emotion.files import write_atomic
from emotion.fonts import font
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.film import write_film
from emotion.inputs.video import MediaError, frame_rate, read_frames
from emotion.models.caption import COLOUR, caption
from emotion.prediction.inputs import Item

RATES = (Fraction(5), Fraction(60))  # pictures a second, at least and at most
LEAST_HEIGHT = 360  # pixels: a smaller picture is scaled up, or nobody could read beside it
PANEL = 0.5  # width of what stands beside the picture, of its height
ROW = 0.09  # height of a bar's row, of the picture's, at most
NEAR_SECONDS = 0.2  # a face that is seen no further away is still there
EDGE = "#8c959f"
CAPTION_ROWS = 2


class Painter:
    """Draws a box, a name and bars on pictures of one size.

    Args:
        height: of the pictures, in pixels.
        width: of the pictures.
        class_names: in index order.
    """

    def __init__(self, height: int, width: int, class_names: Sequence[str]) -> None:
        self.names = full_names(class_names)
        self.colours = colours(class_names)
        self.scale = max(1.0, LEAST_HEIGHT / height)
        self.size = round(self.scale * width), round(self.scale * height)
        self.width, self.height = self.size[0], self.size[1] + self.size[1] % 2
        panel = round(PANEL * self.height)
        self.panel = panel + (self.width + panel) % 2
        rows = len(self.names) + 2 + (CAPTION_ROWS if caption() else 0)
        self.row = int(min(ROW * self.height, self.height / rows))
        letters = "".join(self.names)
        self.small = font(max(8, round(0.44 * self.row)), letters)
        self.large = font(max(9, round(0.66 * self.row)), letters)

    def paint(
        self, picture: np.ndarray, box: np.ndarray | None, probabilities: np.ndarray
    ) -> np.ndarray:
        """The picture, scaled up where it is small, and the panel: uint8, both sides even.

        Args:
            picture: uint8 (H, W, 3) RGB.
            box: (4,) of the face, in pixels of the picture; None where nobody sees one.
            probabilities: (classes,), NaN where there is no answer.
        """
        canvas = Image.new("RGB", (self.width + self.panel, self.height), "white")
        canvas.paste(Image.fromarray(picture).resize(self.size), (0, 0))
        draw = ImageDraw.Draw(canvas)
        given = bool(np.isfinite(probabilities).all())
        best = int(np.nan_to_num(probabilities).argmax())
        if box is not None:
            self._box(draw, box * self.scale, best if given else None)
        self._bars(draw, probabilities, best if given else None)
        self._caption(draw)
        return np.asarray(canvas)

    def _box(self, draw: ImageDraw.ImageDraw, box: np.ndarray, best: int | None) -> None:
        """A frame in the emotion's colour, and its name above it."""
        right, bottom = self.width - 1, self.height - 1
        left, top, end, low = np.clip(box, 0, [right, bottom, right, bottom]).tolist()
        if end - left < 2 or low - top < 2:
            return
        shade = EDGE if best is None else self.colours[best]
        thick = max(2, round(self.height / 150))
        draw.rectangle((left, top, end, low), outline="white", width=thick + 2)
        draw.rectangle((left + 1, top + 1, end - 1, low - 1), outline=shade, width=thick)
        if best is None:
            return
        above = max(0.0, top - self.row)
        wide = draw.textlength(self.names[best], self.large) + 0.5 * self.row
        left = max(0.0, min(left, right - wide))
        draw.rectangle((left, above, left + wide, above + self.row), fill=shade)
        place = (left + 0.25 * self.row, above + self.row / 2)
        draw.text(place, self.names[best], on(shade), self.large, anchor="lm")

    def _bars(self, draw: ImageDraw.ImageDraw, probabilities: np.ndarray, best: int | None) -> None:
        """The answer, and below it a bar a class, as long as its probability."""
        left, room = self.width + 0.35 * self.row, self.panel - 0.7 * self.row
        said = "no answer" if best is None else self.names[best]
        draw.text((left, self.row), said, "black", self.large, anchor="lm")
        for number, (name, shade) in enumerate(zip(self.names, self.colours, strict=True)):
            top = (number + 1.7) * self.row
            draw.text((left, top + 0.28 * self.row), name, "black", self.small, anchor="lm")
            bar = (left, top + 0.56 * self.row, left + room, top + 0.88 * self.row)
            draw.rectangle(bar, outline="#d0d7de")
            if best is None:
                continue
            share = float(probabilities[number])
            told = (left + room, top + 0.28 * self.row)
            draw.text(told, f"{100 * share:.0f} %", "black", self.small, anchor="rm")
            draw.rectangle((*bar[:2], left + room * share, bar[3]), fill=shade, outline=EDGE)

    def _caption(self, draw: ImageDraw.ImageDraw) -> None:
        """Below the bars, what pictures of these models carry."""
        if not caption():
            return
        letters = max(1, int((self.panel - 0.7 * self.row) / draw.textlength("n", self.small)))
        said = "\n".join(wrap(caption(), letters))
        place = (self.width + 0.35 * self.row, self.height - 0.3 * self.row)
        draw.multiline_text(place, said, COLOUR, self.small, anchor="ld", spacing=1)


def check_video(path: str, items: Sequence[Item]) -> None:
    """Refuse what will be no film, before the work starts.

    Raises:
        UserError: several clips, one without pictures, or another kind of file.
    """
    if Path(path).suffix.lower() != ".mp4":
        raise UserError(f"--video {path}: is written as mp4; give a name that ends in .mp4")
    if len(items) != 1:
        raise UserError(f"--video {path}: shows one clip, --input has {len(items)}; give one")
    with _in_one_line(path, items[0]):
        frame_rate(items[0].clip.path)


def write_video(
    path: Path,
    item: Item,
    faces: FaceTrack | None,
    answers: tuple[np.ndarray, np.ndarray],
    class_names: Sequence[str],
) -> None:
    """The clip as a film of the answers to it.

    Args:
        path: of the mp4.
        item: the clip.
        faces: where its face is, where a model reads faces.
        answers: (N,) seconds, and probabilities (N, classes) that hold then; NaN where there is
            no answer.
        class_names: in index order.

    Raises:
        UserError: the clip cannot be decoded to its end.
    """
    with _in_one_line(path, item):
        rate = min(max(frame_rate(item.clip.path), RATES[0]), RATES[1])
        pictures = _pictures(item, rate, faces, answers, class_names)
        write_atomic(path, lambda file: write_film(file, pictures, rate, item.clip.path))


@contextmanager
def _in_one_line(path: str | Path, item: Item) -> Iterator[None]:
    """What a clip cannot give is told in one line, with the flag and the clip."""
    try:
        yield
    except (MediaError, ValueError) as error:
        raise UserError(f"--video {path}: {item.name}: {first_line(error)}") from None


def _pictures(
    item: Item,
    rate: Fraction,
    faces: FaceTrack | None,
    answers: tuple[np.ndarray, np.ndarray],
    class_names: Sequence[str],
) -> Iterator[np.ndarray]:
    times = np.arange(0.0, max(answers[0][-1], 1 / rate), float(1 / rate))
    painter, waiting, before = None, 0, None
    bar = tqdm(times, desc="video", unit="frame", disable=None)
    for time, picture in zip(bar, read_frames(item.clip.path, times), strict=True):
        if picture is None and before is None:  # the film begins later: nobody knows its size yet
            waiting += 1
            continue
        if painter is None:
            painter = Painter(*picture.shape[:2], class_names)
            for early in times[:waiting]:
                yield painter.paint(np.zeros_like(picture), None, answer_at(answers, early))
        there = picture is not None
        before = picture if there else np.zeros_like(before)
        box = box_at(faces, time) if there and faces is not None else None
        yield painter.paint(before, box, answer_at(answers, time))
    if painter is None:
        raise MediaError("has no pictures")


def answer_at(answers: tuple[np.ndarray, np.ndarray], time: float) -> np.ndarray:
    """Probabilities (classes,) between two answers; NaN next to one that is open."""
    times, probabilities = answers
    after = int(np.clip(np.searchsorted(times, time), 1, len(times) - 1))
    start, end = times[after - 1], times[after]
    share = float(np.clip((time - start) / max(end - start, 1e-9), 0, 1))
    if share in (0.0, 1.0):
        return probabilities[after - 1 + int(share)]
    return (1 - share) * probabilities[after - 1] + share * probabilities[after]


def box_at(faces: FaceTrack, time: float) -> np.ndarray | None:
    """The face's box (4,) in pixels, moved between the times at which it was looked for; None
    where it was not found nearby.
    """
    found = np.flatnonzero(faces.found)
    if not len(found) or np.abs(faces.time[found] - time).min() > NEAR_SECONDS:
        return None
    near = found[np.abs(faces.time[found] - time) <= 2 * NEAR_SECONDS]
    return np.array([np.interp(time, faces.time[near], faces.box[near, k]) for k in range(4)])
