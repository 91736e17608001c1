"""Letters for pictures: matplotlib's own, and of what is installed here those with more letters."""

from functools import cache

from matplotlib import font_manager
from PIL import ImageFont

MORE = (
    "Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo",
    "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Noto Sans",
)  # fmt: skip


@cache
def families() -> list[str]:
    """For matplotlib, which looks for a letter in one after the other."""
    there = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in MORE if name in there)]


@cache
def font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """For Pillow, which knows one alone: of ``size`` pixels, with further letters where ``text``
    has some beyond Europe's.
    """
    wanted = families()[-1] if any(letter > "\u2000" for letter in text) else families()[0]
    return ImageFont.truetype(font_manager.findfont(wanted), size)
