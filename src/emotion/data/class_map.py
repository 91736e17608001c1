"""What the classes of one corpus are called in another: ``--class_map``.

A CSV that a person can read, with the columns ``other`` and ``this``: a class of the other corpus,
and the one that it counts as here. Where ``this`` is empty its clips are left out. A class of the
same name needs no line. ``recipes/maps/`` holds one for each corpus that is read.
"""

from collections.abc import Sequence
from pathlib import Path

from emotion.command_line import nearest
from emotion.errors import UserError
from emotion.files import read_csv

MEND = "give a CSV with the columns other,this"


def read_class_map(path: str) -> dict[str, str]:
    """Name in the other corpus -> name here, empty where it is dropped; nothing without a path.

    Raises:
        UserError: no such file, other columns, or a name that is mapped twice.
    """
    if not path:
        return {}
    heading, rows = read_csv(Path(path), MEND, "--class_map")
    if not {"other", "this"} <= set(heading):
        raise UserError(f"--class_map {path}: has the columns {','.join(heading)}; {MEND}")
    found: dict[str, str] = {}
    for row in rows:
        other, this = row["other"].strip(), row["this"].strip()
        if found.setdefault(other, this) != this:
            raise UserError(f"--class_map {path}: maps {other!r} twice; keep one of the lines")
    return found


def class_indices(
    path: str, others: Sequence[str], class_names: Sequence[str], place: str
) -> dict[str, int]:
    """Class of the other corpus -> index of the class here, -1 where its clips are left out.

    Args:
        path: of ``--class_map``; without one only names that are alike are taken.
        others: classes of the other corpus.
        class_names: of this one, in index order.
        place: the other corpus, for errors.

    Raises:
        UserError: a name leads to no class here, or stands on no line; or nothing is shared.
    """
    mapped = read_class_map(path)
    known = " ".join(class_names)
    for other, this in mapped.items():
        if this and this not in class_names:
            raise UserError(
                f"--class_map {path}: {other} is {this!r}, which is not one of {known}"
                f"{nearest(this, class_names)}"
            )
    for other in others:
        if other not in mapped and other not in class_names:
            told = f"--class_map {path}: has no line for" if path else "--class_map: give one:"
            raise UserError(
                f"{told} the class {other!r} of {place}; write {other},NAME with one of {known}, "
                f"or {other}, to leave its clips out"
            )
    names = [mapped.get(other, other) for other in others]
    index = {name: number for number, name in enumerate(class_names)}
    if not any(names):
        raise UserError(
            f"--class_map {path}: {place} ({' '.join(others)}) shares no class with {known}; "
            "nothing would be left of it"
        )
    return {o: index[name] if name else -1 for o, name in zip(others, names, strict=True)}
