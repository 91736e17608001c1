"""Static word vectors from a text file of word2vec, GloVe or fastText.

Such a file holds one line per word (``word v1 v2 ... vD``), after a line ``count D`` in the format
of word2vec and fastText, and has millions of them. It is read once, from front to back, and only
the words that the corpus uses are kept.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from emotion.errors import UserError, first_line
from emotion.telling import note

TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]")
# GloVe's vocabulary was split like the Penn Treebank: "don't" is "do" and "n't".
CONTRACTION = re.compile(r"^(?P<word>.+?)(?P<rest>n't|'\w+)$", re.IGNORECASE)
FINGERPRINT_BYTES = 1 << 20
LONGEST_LINE = 1 << 20  # bytes: 65,536 numbers of 16 digits


def tokenise(transcript: str) -> list[str]:
    """Words, with their inner apostrophes, and punctuation marks."""
    return TOKEN.findall(transcript)


def spellings(token: str) -> list[list[str]]:
    """Ways to look a token up, best first: as it is, in small letters, as a split contraction."""
    ways = [[token], [token.lower()]]
    if match := CONTRACTION.match(token.lower()):
        ways.append([match["word"], match["rest"]])
    return ways


class WordVectors:
    """Words in, vectors out; a word without a vector leaves no row."""

    def __init__(self, path: Path) -> None:
        """Look at the file, without reading it.

        Raises:
            UserError: no such file, or its first lines are not of the format.
        """
        if not path.is_file():
            raise UserError(f"--word_vectors {path}: no such file")
        self.path = path
        self.name = f"{path.name}@{_fingerprint(path)}"
        self.vectors: dict[str, np.ndarray] = {}
        self.sought: set[str] = set()  # in the file, found or not
        self.width = self._read_width()

    def prepare(self, transcripts: Iterable[str]) -> None:
        """Read the vectors of the words in use; says on stderr how many words have one.

        Raises:
            UserError: a line is damaged, or no word has a vector.
        """
        tokens = [token for transcript in transcripts for token in tokenise(transcript)]
        used = set(tokens)
        self.learn(used)
        known = {token for token in used if self._look_up(token)}
        if used and not known:
            raise UserError(
                f"--word_vectors {self.path}: has none of the corpus's {len(used)} words, such as "
                f"{tokens[0]!r}; give vectors of its language"
            )
        share = sum(token in known for token in tokens) / max(len(tokens), 1)
        note(
            f"{self.path.name}: {len(known)} of {len(used)} words have a vector, "
            f"{100 * share:.1f} % of the text"
        )

    def learn(self, tokens: Iterable[str]) -> None:
        """Read the vectors of words that nobody asked for before.

        Raises:
            UserError: a line is damaged.
        """
        wanted = {part for token in tokens for way in spellings(token) for part in way}
        if new := wanted - self.sought:
            self.vectors |= self._read({part.encode() for part in new})
            self.sought |= new

    def embed(
        self, transcripts: Sequence[str], past: Sequence[Sequence[str]] = ()
    ) -> list[np.ndarray]:
        """Vectors (W, D) float32 of each transcript; W is 0 where no word has one.

        ``past``, what was said before, changes no word's vector.
        """
        return [self._embed(transcript) for transcript in transcripts]

    def spans(self, transcripts: Sequence[str]) -> list[np.ndarray]:
        """Where the words of ``embed`` stand in each transcript, int (W, 2): the first character
        and one past the last.
        """
        return [self._spans(transcript) for transcript in transcripts]

    def _spans(self, transcript: str) -> np.ndarray:
        found = [t.span() for t in TOKEN.finditer(transcript) for _ in self._look_up(t[0])]
        return np.array(found, int).reshape(-1, 2)

    def _embed(self, transcript: str) -> np.ndarray:
        rows = [row for token in tokenise(transcript) for row in self._look_up(token)]
        return np.stack(rows) if rows else np.zeros((0, self.width), np.float32)

    def _look_up(self, token: str) -> list[np.ndarray]:
        for way in spellings(token):
            if all(part in self.vectors for part in way):
                return [self.vectors[part] for part in way]
        return []

    def _read_width(self) -> int:
        lines = self._lines()
        try:
            first = next(lines).split()
            header = len(first) == 2 and all(field.isdigit() for field in first)
            fields = next(lines).split() if header else first
            width = int(first[1]) if header else len(fields) - 1
            np.array(fields[-width:], np.float32)
        except (StopIteration, ValueError, IndexError):
            fields, width = [], 0
        if width < 2 or len(fields) <= width:
            raise UserError(
                f"--word_vectors {self.path}: not in text format (one line per word: word v1 v2 "
                "...); a binary .bin has to be converted first"
            )
        return width

    def _read(self, wanted: set[bytes]) -> dict[str, np.ndarray]:
        vectors: dict[str, np.ndarray] = {}
        for number, line in enumerate(self._lines(), 1):
            word, _, rest = line.partition(b" ")
            if word in wanted and word.decode() not in vectors:
                values = self._parse(rest.split(), number)
                if values is not None:
                    vectors[word.decode()] = values
        return vectors

    def _parse(self, fields: list[bytes], number: int) -> np.ndarray | None:
        """A vector; None for a header, or a "word" with spaces, of which GloVe has some."""
        if len(fields) > self.width or (number == 1 and len(fields) == 1):
            return None
        try:
            values = np.array(fields, np.float32)
        except ValueError:
            values = np.zeros(0, np.float32)
        if len(values) != self.width or not np.isfinite(values).all():
            raise UserError(
                f"--word_vectors {self.path}: line {number} does not hold {self.width} numbers"
            )
        return values

    def _lines(self) -> Iterator[bytes]:
        try:
            with (
                gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb") as file
            ):
                while line := file.readline(LONGEST_LINE):
                    if len(line) == LONGEST_LINE:
                        raise UserError(
                            f"--word_vectors {self.path}: not in text format (one line per word): "
                            f"one has more than {LONGEST_LINE:,} bytes"
                        )
                    yield line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"--word_vectors {self.path}: damaged ({first_line(error)})") from None


def _fingerprint(path: Path) -> str:
    """Of the size and the first mebibyte: the whole of such a file takes a minute to read."""
    with path.open("rb") as file:
        head = file.read(FINGERPRINT_BYTES)
    return hashlib.sha256(head + str(path.stat().st_size).encode()).hexdigest()[:16]
