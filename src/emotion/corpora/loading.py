"""A corpus by name, checked."""

from dataclasses import replace
from pathlib import Path

from emotion import registry
from emotion.corpora.takes import note_passed_over
from emotion.errors import UserError
from emotion.records import Clip, Corpus
from emotion.telling import one_line

NOTICE = "notice.txt"
LONGEST_NOTICE = 200  # letters


def load_corpus(name: str, folder: Path) -> Corpus:
    """The clips of corpus ``name`` found in ``folder``, in a fixed order.

    Raises:
        UserError: the folder does not exist, holds no clips, two clips share a name, or a label is
            not one of the corpus.
    """
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; put the {name} corpus there or give --data_dir")
    corpus = _readable_names(registry.load("CORPORA", name).load(folder))
    corpus = replace(corpus, notice=_notice(folder))
    if not corpus.clips:
        raise UserError(f"{folder}: holds no clips of the corpus {name}")
    seen: dict[tuple[str, str], Clip] = {}
    for clip in corpus.clips:
        if odd := {*clip.labels} - {None, *range(len(corpus.class_names))}:
            raise UserError(
                f"{clip.path or clip.stem}: its label {odd.pop()!r} is none of the corpus's "
                f"{len(corpus.class_names)} classes, which count from 0"
            )
        other = seen.setdefault((clip.split, clip.stem), clip)
        if other is not clip:
            raise UserError(
                f"{clip.path or clip.stem}: has the same name as {other.path or other.stem}; "
                "rename one of them"
            )
    return corpus


def _notice(folder: Path) -> str:
    """The first line of ``notice.txt`` in a corpus's folder, as the generated sample has it."""
    path = (folder if folder.is_dir() else folder.parent) / NOTICE
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return one_line(file.readline(LONGEST_NOTICE))


def people_of(corpus: str) -> str:
    """Whose speakers those of a corpus are: two corpora of the same people say the same."""
    if corpus not in registry.CORPORA:
        return corpus
    return getattr(registry.load("CORPORA", corpus), "PEOPLE", corpus)


def _readable_names(corpus: Corpus) -> Corpus:
    """Without the clips whose names are no text: no list could hold them."""
    wrong = [clip.stem for clip in corpus.clips if not _is_text(clip.stem + clip.id)]
    note_passed_over(corpus.name, [Path(ascii(name)) for name in wrong], "names not in UTF-8")
    return replace(corpus, clips=[clip for clip in corpus.clips if _is_text(clip.stem + clip.id)])


def _is_text(name: str) -> bool:
    return name.isascii() or not any(0xD800 <= ord(letter) <= 0xDFFF for letter in name)
