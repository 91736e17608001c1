"""The commands of README, docs/ and recipes/: words as a shell would read them."""

import re
import shlex
from typing import NamedTuple

from emotion.paths import HOME

PAGES = [
    HOME / "README.md",
    *sorted((HOME / "docs").glob("*.md")),
    *sorted((HOME / "recipes").glob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS = ("python", "python3", "torchrun", "pip", "make", "PYTHONPATH=src", "source", "emotion-")


class Command(NamedTuple):
    """One command line of a page."""

    page: str
    words: tuple[str, ...]

    @property
    def line(self) -> str:
        return " ".join(self.words)

    def script(self) -> tuple[str, list[str]] | None:
        """The name of the script that is run, by whichever launcher, and what it is given."""
        for place, word in enumerate(self.words):
            if word in ("preprocess.py", "train.py", "predict.py"):
                return word.removesuffix(".py"), list(self.words[place + 1 :])
        return None


def commands() -> list[Command]:
    """Every command in a block of code, in the order of the pages."""
    found = []
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language not in ("", "bash", "sh"):
                continue
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split(" && "):
                    if part.strip().startswith(PROGRAMS):
                        found.append(Command(page.name, _words(part)))
    return found


def _words(line: str) -> tuple[str, ...]:
    """Without a comment, a redirection, and the dots that stand for more."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    words = list(lexer)
    if ">>" in words:
        words = words[: words.index(">>")]
    return tuple(word for word in words if word != "...")
