"""Families of features, ``speech:<name>`` or ``face:<name>``.

There is one member for each pretrained encoder that a flag names, several beside one another in one
folder.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emotion import registry
from emotion.errors import UserError
from emotion.inputs.feature import SOURCE


class OfEncoder:
    """A member of a family; mixed into a class below ``Feature``."""

    flag = ""  # that names encoders
    is_view = True  # of a copy: as good as the clip itself, so that --tta averages over it
    reasons: dict[str, str]

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = name.replace(registry.FAMILY, "_")
        self.of, _, self.copy = name.partition(registry.COPY)  # a copy is one of other features
        self.family, _, encoder = self.of.partition(registry.FAMILY)
        missing = f"has no features {name}; run preprocess.py {self.flag} {encoder}"
        self.reasons = self.reasons | {"missing": missing}

    def is_made(self, settings: dict[str, Any]) -> bool:
        """Where it is asked for."""
        return self.name in settings

    def obstacle(self, settings: dict[str, Any], options: Any) -> str:
        """Nothing: an encoder that is not here ends the program, in a line."""
        self.open(settings, options, "cpu")
        return ""

    def open(self, settings: dict[str, Any], options: Any, device: str) -> Any:
        """The encoder that was asked for, or the one that the settings remember.

        Raises:
            UserError: it is not here, or is another one of the same name.
        """
        wanted = settings[self.name]
        if not isinstance(wanted, dict) or SOURCE not in wanted:
            raise UserError(
                f"there are no features {self.name!r} here that {self.flag} makes; give the file "
                "that brings them: --extend FILE.py"
            )
        given = by_name(self.family, self.flag, getattr(options, self.flag[2:]))
        source = given.get(self.of, wanted[SOURCE])
        encoder = self.load(source, wanted, device)
        if encoder.fingerprint != wanted["fingerprint"]:
            raise UserError(
                f"{self.flag} {source}: is not the encoder that {self.name} was made with "
                f"(fingerprint {wanted['fingerprint']}, this one has {encoder.fingerprint}); give "
                "that one"
            )
        return encoder

    def load(self, source: str, wanted: dict[str, Any], device: str) -> Any:
        """An encoder, with a ``fingerprint``, as features.json describes it."""
        raise NotImplementedError


def by_name(family: str, flag: str, sources: Sequence[str]) -> dict[str, str]:
    """The features that encoders make, by the last part of their names, and the encoders.

    Raises:
        UserError: two would share a folder, or one looks like a copy of another.
    """
    ends = [Path(source).absolute().name.removesuffix(".onnx") for source in sources]
    if odd := [end for end in ends if registry.COPY in end]:
        raise UserError(f"{flag}: the name {odd[0]} has an {registry.COPY}; rename it")
    names = [f"{family}{registry.FAMILY}{end}" for end in ends]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{flag}: two encoders are called {twice[0]}; rename one")
    return dict(zip(names, sources, strict=True))
