"""Answers as a table: CSV, or by the name's ending JSON or Parquet."""

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from emotion.errors import UserError
from emotion.files import write_atomic, write_csv, write_json

TEXT = ("FileID", "Emotion", "modalities")  # columns that are no numbers


def check_table(path: Path) -> None:
    """Refuse a kind of table that cannot be written here.

    Raises:
        UserError: a package is missing.
    """
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise UserError(f"--output {path}: Parquet wants pyarrow; pip install pyarrow")


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows of cells as a CSV has them, whole or not at all.

    In JSON (a list of objects) and Parquet numbers are numbers, and what is empty is null.
    """
    ending = path.suffix.lower()
    if ending not in (".json", ".parquet"):
        write_csv(path, columns, rows)
        return
    typed = [[_value(name, cell) for name, cell in zip(columns, row, strict=True)] for row in rows]
    if ending == ".json":
        write_json(path, [dict(zip(columns, row, strict=True)) for row in typed])
    else:
        write_atomic(path, lambda file: _write_parquet(file, columns, typed))


def _value(column: str, cell: str) -> str | float | None:
    if not cell:
        return None
    return cell if column in TEXT else float(cell)


def _write_parquet(
    file: BytesIO, columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]
) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = [pyarrow.string() if name in TEXT else pyarrow.float64() for name in columns]
    arrays = [
        pyarrow.array([_readable(row[number]) for row in rows], kind)
        for number, kind in enumerate(kinds)
    ]
    table = pyarrow.Table.from_arrays(
        arrays, schema=pyarrow.schema(zip(columns, kinds, strict=True))
    )
    parquet.write_table(table, file)


def _readable(value: str | float | None) -> str | float | None:
    """A name of bytes that are no UTF-8 is told with marks in their place."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return value
