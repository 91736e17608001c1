"""Command lines made from dataclasses: one field is one ``--flag value``, typed and documented."""

import argparse
import dataclasses
import difflib
import io
import math
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from emotion.errors import UserError, first_line
from emotion.telling import tell

T = TypeVar("T")


def flag(default: Any, help: str, group: str, choices: Sequence[Any] = (), **extra: Any) -> Any:
    """A dataclass field that ``parse`` turns into ``--name``.

    ``choices`` limits the values; ``low`` and ``high`` in ``extra`` limit a number, inclusive, and
    ``words`` may stand in its place. A switch may stand alone: ``--name`` is ``--name True``. With
    ``several`` in ``extra`` more values than one are a list.
    """
    metadata = {"help": help, "group": group, "choices": tuple(choices), **extra}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse(options: type[T], description: str, argv: Sequence[str] | None = None) -> T:
    """Parse ``argv`` into the dataclass ``options``; a mistake is one line and exit code 2.

    A field that is no ``flag`` keeps its default.

    ``@FILE`` stands for the flags in that file, as a shell would read them; flags after it count.
    """
    parser = _Parser(
        description=description,
        allow_abbrev=False,
        fromfile_prefix_chars="@",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in dataclasses.fields(options):
        if not field.metadata:
            continue  # for callers from Python
        title = field.metadata["group"]
        groups.setdefault(title, parser.add_argument_group(title))
        _add_argument(groups[title], field)
    return options(**vars(parser.parse_args(argv)))


def early(name: str, argv: Sequence[str] | None = None) -> list[str]:
    """The values of one list flag, before it is known which other flags there are."""
    parser = _Parser(add_help=False, allow_abbrev=False, fromfile_prefix_chars="@")
    parser.add_argument(f"--{name}", nargs="+", default=[])
    return getattr(parser.parse_known_args(argv)[0], name)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a script's ``main``: a user error is one line and code 2, Ctrl-C one line and 130.

    ``main`` imports what it needs itself, so that this holds while packages are imported too.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = _interrupt_again
    _open_streams()
    try:
        code = main() or 0
    except UserError as error:
        code = report(error)
    except KeyboardInterrupt as interrupt:
        tell(f"stopped. {interrupt}")
        code = 130
    except BrokenPipeError:
        code = 141
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        code = report(
            UserError(
                "there is not enough memory for this; give a smaller model, --batch_size or "
                f"--micro_batch ({first_line(error)[:120]})"
            )
        )
    except OSError as error:  # disk full, no permission, a file where a folder should be
        code = report(UserError(f"{error.filename or 'a file'}: {error.strerror or error}"))
    sys.exit(code)


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, of Python, numpy, or torch on any device."""
    kind = type(error).__name__
    return (
        isinstance(error, MemoryError)
        or kind == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def report(error: UserError) -> int:
    """Print a user error as one line on stderr; returns exit code 2."""
    tell(f"error: {error}")
    return 2


def _interrupt_again(lost: Any) -> None:
    """Ctrl-C inside a finalizer or a weak reference's callback is dropped by Python, and the work
    would go on: here it comes again a moment later, outside of it.
    """
    if issubclass(lost.exc_type, KeyboardInterrupt):
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    else:
        sys.__unraisablehook__(lost)


def _open_streams() -> None:
    """stdin, stdout and stderr, where whoever started this closed them: else the next file opened
    would be taken for one of them. What a terminal has no letter for is shown as its code.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def nearest(word: str, choices: Sequence[Any]) -> str:
    """`` (did you mean X?)`` where one of ``choices`` is near, else the empty string."""
    match = difflib.get_close_matches(word, [str(choice) for choice in choices], n=1, cutoff=0.5)
    return f" (did you mean {match[0]}?)" if match else ""


class _Parser(argparse.ArgumentParser):
    """Names the nearest right flag, and says everything in one line."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].split("=")[0]
            hint = nearest(word, list(self._option_string_actions))
            self.error(f"unknown argument {word}{hint}; see --help")
        return parsed

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """Flags in a line of a file: words as in a shell, without what follows a ``#``."""
        try:
            return shlex.split(arg_line, comments=True)
        except ValueError as error:  # a quotation mark that is not closed
            self.error(f"{arg_line}: {error}")

    def _read_args_from_files(self, arg_strings: list[str]) -> list[str]:
        try:
            return super()._read_args_from_files(arg_strings)
        except (ValueError, RecursionError) as error:
            self.error(f"a file of flags cannot be read ({first_line(error)})")

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^\[Errno \d+\] ", "@FILE, a file of flags: ", message)
        self.exit(report(UserError(message)))


def _add_argument(group: argparse._ArgumentGroup, field: dataclasses.Field) -> None:
    default = field.default
    if default is dataclasses.MISSING:
        default = field.default_factory() if callable(field.default_factory) else None
    kind = field.metadata.get("type") or (str if default is None else type(default))
    many = isinstance(default, list)
    if many:
        kind = field.metadata.get("type") or type(default[0])
    arguments: dict[str, Any] = {
        "help": field.metadata["help"].replace("%", "%%"),
        "default": default,
        "type": _converter(kind, field),
        "metavar": _metavar(kind, field),
    }
    if many:
        arguments["nargs"] = "+"
    if field.metadata.get("several"):
        arguments |= {"nargs": "+", "action": _OneOrMore}
    if kind is bool:
        arguments |= {"nargs": "?", "const": True}
    if field.metadata.get("required"):
        arguments["required"] = True
    group.add_argument(f"--{field.name}", **arguments)


class _OneOrMore(argparse.Action):
    """One value stays itself, several are a list."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, values[0] if len(values) == 1 else values)


def _metavar(kind: type, field: dataclasses.Field) -> str:
    choices = field.metadata["choices"]
    if kind is bool:
        return "True|False"
    if choices:
        return "|".join(map(str, choices))
    return "|".join((kind.__name__.upper(), *field.metadata.get("words", ())))


def _converter(kind: type, field: dataclasses.Field) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        if text in field.metadata.get("words", ()):
            return text
        value = _boolean(text) if kind is bool else _number(kind, text)
        choices = field.metadata["choices"]
        if choices and value not in choices:
            known = ", ".join(map(str, choices))
            raise argparse.ArgumentTypeError(
                f"{text!r} is not one of {known}{nearest(text, choices)}"
            )
        low, high = field.metadata.get("low"), field.metadata.get("high")
        if (low is not None and value < low) or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text} is not {_interval(low, high)}")
        return value

    return convert


def _interval(low: float | None, high: float | None) -> str:
    if high is None:
        return f"{low} or more"
    return f"{high} or less" if low is None else f"from {low} to {high}"


def _number(kind: type, text: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None
    if kind is float and not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a number to work with")
    return value


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return text.lower() == "true"
