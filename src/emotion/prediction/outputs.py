"""What predict.py writes, looked at before the work starts: it may be, and overwrites no input."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from emotion.errors import UserError
from emotion.files import instead_of_file, try_to_write
from emotion.models.checkpoint import BEST
from emotion.prediction.calibration import calibration_path
from emotion.prediction.inputs import Item
from emotion.prediction.members import Member
from emotion.prediction.options import PredictOptions
from emotion.prediction.report import NUMBERS, TEMPLATE
from emotion.prediction.tables import check_table
from emotion.prediction.timeline import picture_path


def check_outputs(
    options: PredictOptions, members: Sequence[Member], items: Sequence[Item]
) -> None:
    """Refuse outputs that cannot be written, or would take the place of something else.

    Raises:
        UserError: one is an input, or no file; the line names the flag.
        OSError: its folder cannot be written to.
    """
    inputs = {key for path in _inputs(options, members, items) if (key := _key(path))}
    if not options.export and not options.calibrate:
        check_table(Path(options.output))
    folders = set()
    for flag, path in _outputs(options, members, items):
        _check_place(flag, path, inputs)
        folders.add(_first_folder(path))
    for folder in folders:
        try_to_write(folder)


def _outputs(
    options: PredictOptions, members: Sequence[Member], items: Sequence[Item]
) -> Iterator[tuple[str, Path]]:
    """Every file that these flags write, with its flag."""
    if options.export:
        yield "--export", Path(options.export)
    elif options.calibrate:
        yield from (("--calibrate", calibration_path(m.checkpoint.path)) for m in members)
    else:
        yield "--output", Path(options.output)
        if options.video:
            yield "--video", Path(options.video)
        if options.timeline:
            yield from (("--output", picture_path(Path(options.output), i)) for i in items)
        elif options.report:
            for name in (TEMPLATE, NUMBERS):
                yield "--report", Path(options.report) / name


def _inputs(
    options: PredictOptions, members: Sequence[Member], items: Sequence[Item]
) -> Iterator[Path]:
    for member in members:
        yield member.checkpoint.path
        if BEST.match(member.checkpoint.path.name) and not options.calibrate:  # in its run's folder
            for pattern in ("*.pth", "*.json", "metrics.csv"):
                yield from member.checkpoint.path.parent.glob(pattern)
    yield from (Path(given) for given in options.weights)
    for item in items:
        if item.store is None:
            yield from (path for path in (item.clip.path, item.clip.text) if path)
    for root in {item.store.root for item in items if item.store is not None}:
        yield from root.glob("*.json")
        yield from root.glob("*/*.csv")
    named = (*options.input, *options.transcripts, options.labels, *options.encoders)
    yield from (Path(given) for given in named if given)


def _key(path: Path) -> tuple[int, int] | None:
    """What a file is known by, under whichever name; None for what is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return None if instead_of_file(found.st_mode) else (found.st_dev, found.st_ino)


def _check_place(flag: str, path: Path, inputs: set[tuple[int, int]]) -> None:
    if _key(path) in inputs:
        raise UserError(f"{flag} {path}: is one of the inputs; give another path")
    try:
        instead = instead_of_file(path.lstat().st_mode)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise UserError(
            f"{flag} {path}: a file is in the place of its folder; give another path"
        ) from None
    if instead:
        raise UserError(f"{flag} {path}: is {instead}, not a file; give another path")


def _first_folder(path: Path) -> Path:
    """The nearest folder above a file that is there already."""
    return next(folder for folder in path.absolute().parents if os.path.lexists(folder))
