"""Files of transcripts: the project's own CSV, text, subtitles (srt, vtt), Praat's TextGrid."""

import re
from collections.abc import Callable, Iterable
from math import nan
from pathlib import Path

from emotion.corpora.rows import decode
from emotion.errors import UserError
from emotion.files import read_csv, write_csv
from emotion.inputs.spoken import Spoken, Word, clean, cleaned, spoken_of, spread

COLUMNS = ("FileID", "transcript", "language", "confidence", "words")
NAMES = ("FileID", "id", "stem")  # of the column that says whose words they are
TIMED = re.compile(r"(?P<text>.+)@(?P<start>\d+(?:\.\d+)?)-(?P<end>\d+(?:\.\d+)?)")
CUE = re.compile(
    r"(?P<start>[\d:]+[.,]\d+)\s*-->\s*(?P<end>[\d:]+[.,]\d+)[^\n]*\n(?P<said>.*)", re.DOTALL
)
TAG = re.compile(r"<[^>]*>|\{[^}]*\}")  # italics, colours, places
TIER = re.compile(r'"IntervalTier"\s*"((?:[^"]|"")*)"')
INTERVAL = re.compile(r'([\d.eE+-]+)\s+([\d.eE+-]+)\s+"((?:[^"]|"")*)"')
LABEL = re.compile(r"(?:^|(?<=\s))[A-Za-z ]+(?:\[\d*\])?\s*[=:]\s*", re.MULTILINE)  # "xmin = "
NO_WORDS = frozenset({"", "sp", "sil", "spn", "<eps>", "<unk>", "<p:>"})  # of forced aligners


# -- the project's own list ------------------------------------------------------------------------


def write_list(path: Path, rows: Iterable[tuple[str, str, Spoken]], within: Path) -> None:
    """``transcripts.csv``: FileID, the text that counts, and what is known of its words."""
    lines = [
        [name, text, said.language, _shown(said.confidence), " ".join(map(_written, said.words))]
        for name, text, said in rows
    ]
    write_csv(path, COLUMNS, lines, within=within)


def read_list(path: Path, mend: str, flag: str = "") -> dict[str, tuple[str, Spoken]]:
    """By FileID the text of ``transcripts.csv`` and the words that it had when it was written.

    Any CSV with the columns ``FileID`` (or id, stem) and ``transcript`` is one.

    Raises:
        UserError: it is no such file, or a row is damaged.
    """
    called = f"{flag} {path}".strip()
    heading, rows = read_csv(path, mend, flag)
    name = next((name for name in NAMES if name in heading), "")
    if not name or "transcript" not in heading:
        raise UserError(f"{called}: requires the columns FileID,transcript; {mend}")
    found = {}
    for row in rows:
        try:
            confidence = float(row.get("confidence") or nan)
        except ValueError:
            confidence = nan
        words = cleaned(_parse(word) for word in row.get("words", "").split())
        spoken = Spoken(words, row.get("language", ""), confidence)
        found[row[name].strip()] = clean(row["transcript"]), spoken
    return found


def _shown(value: float) -> str:
    return "" if value != value else f"{value:.3f}"


def _written(word: Word) -> str:
    known = word.start == word.start
    return f"{word.text}@{word.start:.2f}-{word.end:.2f}" if known else word.text


def _parse(text: str) -> Word:
    found = TIMED.fullmatch(text)
    return Word(found["text"], float(found["start"]), float(found["end"])) if found else Word(text)


# -- files of others -------------------------------------------------------------------------------


def read_given(path: Path) -> dict[str, Spoken]:
    """By FileID the words of a CSV, or of a folder of files named by FileID.

    Raises:
        UserError: there is no such file or folder, it holds none, or one is damaged.
    """
    mend = "give a CSV with the columns FileID,transcript, or a folder of txt, srt, vtt, TextGrid"
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in READERS)
        if not files:
            raise UserError(f"--transcripts {path}: holds no {' '.join(READERS)}; {mend}")
        return {file.stem: _read_file(file) for file in files}
    return {
        name: (spoken if spoken.text == text else spoken.corrected(text))
        for name, (text, spoken) in read_list(path, mend, "--transcripts").items()
    }


def _read_file(path: Path) -> Spoken:
    content = path.read_bytes()
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")  # as Praat writes what is not ASCII
    try:
        text = content.decode("utf-16") if utf16 else decode(content)
        return READERS[path.suffix.lower()](text.replace("\r\n", "\n"))
    except (ValueError, IndexError):
        raise UserError(
            f"--transcripts {path}: not readable as {path.suffix[1:]}; correct it"
        ) from None


def read_subtitles(text: str) -> Spoken:
    """Words of srt or vtt: those of a cue share its time."""
    words: list[Word] = []
    for block in re.split(r"\n\s*\n", text):
        cue = CUE.search(block)
        if cue:
            start, end = _seconds(cue["start"]), _seconds(cue["end"])
            said = clean(TAG.sub("", cue["said"])).split()
            words += spread(said, start, max(start, end))
    return Spoken(cleaned(words))


def _seconds(clock: str) -> float:
    """Of ``hours:minutes:seconds``, hours where there are any."""
    parts = reversed(clock.replace(",", ".").split(":"))
    return sum(float(part) * 60**place for place, part in enumerate(parts))


def read_text_grid(text: str) -> Spoken:
    """Words of a TextGrid in its long or short form: of the tier called words, else the first
    tier of intervals.

    Raises:
        ValueError: it has no such tier.
    """
    text = LABEL.sub("", text)
    parts = TIER.split(text)[1:]
    tiers = list(zip(parts[::2], parts[1::2], strict=True))
    if not tiers:
        raise ValueError("no tier of intervals")
    words = next((t for t in tiers if t[0].strip().lower() in ("words", "word")), tiers[0])
    body = words[1].split('"TextTier"')[0]
    found: list[Word] = []
    for start, end, label in INTERVAL.findall(body):
        said = clean(label.replace('""', '"'))
        if said.lower() not in NO_WORDS:
            found += spread(said.split(), float(start), float(end))
    return Spoken(cleaned(found))


READERS: dict[str, Callable[[str], Spoken]] = {
    ".txt": spoken_of,
    ".srt": read_subtitles,
    ".vtt": read_subtitles,
    ".textgrid": read_text_grid,
}
