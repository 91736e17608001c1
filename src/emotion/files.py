"""How files are written whole and read with care: the one place for JSON, CSV and what lies beside.

A file is complete or absent: it is written beside its place, synced and renamed. What lies in a
folder that somebody else made is not trusted: no link in it is followed when writing.
"""

import csv
import io
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from emotion.errors import UserError, first_line

PARTIAL = re.compile(r"\.(?P<name>.+)\.(?:\d+|[a-z0-9_]{8})\.partial")
LONGEST_NAME = 230  # bytes, of a file that is to be swept away where a kill leaves it half written
FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what a spreadsheet would run, or what was quoted of it
_umask = os.umask(0)
os.umask(_umask)


def write_atomic(path: Path, write: Callable[[BinaryIO], Any], within: Path | None = None) -> None:
    """Make a file complete or not at all: write beside, sync, rename.

    The bytes are made in memory first, so the file on disk is one sequential write. A file that is
    there keeps its permissions; a link is replaced, what it points to is left alone.

    Args:
        path: its folder is made where it is not there.
        write: puts the content into the file that it is given.
        within: no folder between this one and the file may be a link.

    Raises:
        UserError: what is there is no regular file, or a folder on the way is a link.
    """
    buffer = io.BytesIO()
    write(buffer)
    if within is not None:
        refuse_links(path.parent, within)
    mode = _mode(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # a name takes 255 bytes, with what is added here
    name = f".{path.name}." if len(os.fsencode(path.name)) <= LONGEST_NAME else "."
    handle, beside = tempfile.mkstemp(".partial", name, path.parent)
    try:
        with open(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(handle)
        os.replace(beside, path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError) and not error.filename:  # a full disk names no file
            error.filename = str(path)
        raise


def refuse_links(folder: Path, within: Path) -> None:
    """Let folders below ``within`` pass that are folders, or not there yet; that one itself, which
    a person names, may be a link.

    Raises:
        UserError: one of them is a link, or no folder.
    """
    below = within
    for part in folder.relative_to(within).parts:
        below = below / part
        try:
            instead = instead_of_file(below.lstat().st_mode) or "a file"
        except FileNotFoundError:
            return
        if instead != "a folder":
            raise UserError(
                f"{below}: is {instead}, not a folder; remove it, or name another place than "
                f"{within}"
            )


def instead_of_file(mode: int) -> str:
    """What a path of this ``st_mode`` is that is no regular file; empty where it is one."""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "")


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_unlinked(path: Path, mode: str) -> IO:
    """A file of the program's own in somebody else's folder: ``rb``, or ``a`` or ``a+`` as UTF-8.

    Raises:
        UserError: a link or something else that is no file is in its place.
    """
    with suppress(FileNotFoundError):
        _refuse(path, path.lstat().st_mode)
    encoding = None if "b" in mode else "utf-8"
    return open(path, mode, encoding=encoding, opener=_open_no_link)


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _refuse(path: Path, mode: int) -> None:
    if instead := instead_of_file(mode):
        raise UserError(f"{path}: is {instead}, not a file; remove it, or name another place")


def try_to_write(folder: Path) -> None:
    """Make a file in a folder and remove it again.

    Raises:
        OSError: that cannot be done.
    """
    handle, path = tempfile.mkstemp(".partial", ".try.", folder)
    os.close(handle)
    os.unlink(path)


def _mode(path: Path) -> int:
    """Permissions of the file that is there, or those of a new one."""
    try:
        there = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0o666 & ~_umask
    _refuse(path, there)
    return stat.S_IMODE(there)


def remove_partial_files(root: Path, names: Container[str] | None = None) -> None:
    """Sweep away what a killed run left half written below ``root``.

    ``names`` limits it to files that were to be called so: others may be under way elsewhere.
    """
    if root.is_symlink():
        return
    for folder, _, files in os.walk(root):
        for file in files:
            partial = PARTIAL.fullmatch(file)
            if partial and (names is None or partial["name"] in names):
                (Path(folder) / file).unlink(missing_ok=True)


# -- JSON -----------------------------------------------------------------------------------------


def write_json(path: Path, content: Any, within: Path | None = None) -> None:
    """JSON, whole or not at all; what is not a number becomes null."""
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    coded = text.encode("utf-8", "surrogateescape")
    write_atomic(path, lambda file: file.write(coded), within)


def read_json(path: Path, mend: str, parse: Callable[[Any], Any], flag: str = "") -> Any:
    """What ``parse`` makes of a JSON file.

    Args:
        path: of the file.
        mend: what to do about a damaged one.
        parse: picks what is wanted out of the content; whatever it trips over is damage.
        flag: that named it, such as ``--n_folds``.

    Raises:
        UserError: the file is not there, not JSON, or not what it should be.
    """
    called = f"{flag} {path}".strip()
    try:
        return parse(json.loads(path.read_bytes().decode("utf-8", "surrogateescape")))
    except FileNotFoundError:
        raise UserError(f"{called}: no such file; {mend}") from None
    except UserError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError):
        raise UserError(f"{called}: damaged; {mend}") from None


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- CSV ------------------------------------------------------------------------------------------


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], within: Path | None = None
) -> None:
    """A CSV file with a heading, whole or not at all.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, which
    ``read_csv`` takes away again.
    """
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (columns, *rows):
        cells = [defused(cell) for cell in row]
        # a carriage return ends a row too, but is not quoted for it
        breaks = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoted if breaks else plain).writerow(cells)
    coded = text.getvalue().encode("utf-8", "surrogateescape")
    write_atomic(path, lambda file: file.write(coded), within)


def read_csv(path: Path, mend: str, flag: str = "") -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a CSV file with a heading.

    Raises:
        UserError: it is no such file, or a row has more or fewer fields than the heading.
    """
    called = f"{flag} {path}".strip()
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            heading, *rows = [[meant(cell) for cell in row] for row in csv.reader(file) if row]
    except FileNotFoundError:
        raise UserError(f"{called}: no such file; {mend}") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{called}: damaged ({first_line(error)}); {mend}") from None
    for row in rows:
        if len(row) != len(heading):
            raise UserError(f"{called}: damaged row {row}; {mend}")
    return heading, [dict(zip(heading, row, strict=True)) for row in rows]


def defused(cell: Any) -> Any:
    """A cell as it is written: a name such as ``=1+1`` or ``@x`` with an apostrophe before it."""
    if isinstance(cell, str) and FORMULA.match(cell):
        return f"'{cell}"
    return cell


def meant(cell: str) -> str:
    """What ``defused`` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
