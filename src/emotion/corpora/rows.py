"""CSV files as they are found in the wild: byte order marks, Windows quotes, missing columns."""

import codecs
import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from emotion.errors import UserError, first_line


class Row(NamedTuple):
    """One line of a file; values are stripped, and empty where the file has no such column."""

    source: str  # FILE:LINE, for errors
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")


def read_rows(path: Path, required: Iterable[str], mixed: bool = True) -> list[Row]:
    """The rows of a CSV file that has at least the ``required`` columns; empty lines left out.

    Args:
        path: of the file.
        required: names of columns.
        mixed: let Windows-1252 pass amid UTF-8; names that are to be found again want UTF-8.

    Raises:
        UserError: the file cannot be read or lacks a column.
    """
    try:
        content = path.read_bytes()
        text = decode(content) if mixed else content.decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        missing = [name for name in required if name not in columns]
        if missing:
            raise UserError(
                f"{path}: has no column {missing[0]}, but {','.join(columns) or 'nothing'}; "
                "correct the header line"
            )
        return [Row(f"{path}:{reader.line_num}", _strip(row)) for row in reader]
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except csv.Error as error:
        reason = first_line(error)
        raise UserError(f"{path}: not a readable CSV file ({reason}); correct it") from None


def decode(content: bytes) -> str:
    """UTF-8 text in which some characters are Windows-1252.

    They come as single bytes that are not UTF-8, or, where a tool has taken them for Latin-1, as
    control characters (U+0080 to U+009F) that no text has a use for.
    """
    text = content.decode("utf-8-sig", errors="windows_1252")
    return text.translate(_CONTROLS)


def _strip(row: dict[str | None, str | None]) -> dict[str, str]:
    return {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}


def _windows_1252(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    return wrong.decode("cp1252", errors="replace"), error.end


codecs.register_error("windows_1252", _windows_1252)
_CONTROLS = {code: bytes([code]).decode("cp1252", errors="replace") for code in range(0x80, 0xA0)}
