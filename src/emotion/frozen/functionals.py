"""Functionals of the voice by openSMILE: one vector a clip (``requirements-functionals.txt``).

eGeMAPSv02 (Eyben et al. 2016, 88 values) and ComParE 2016 (Schuller et al. 2016, 6,373 values) of
the trimmed speech. openSMILE is free for research alone.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from emotion import registry
from emotion.clock import SAMPLE_RATE
from emotion.command_line import flag
from emotion.errors import UserError
from emotion.inputs.media import Media
from emotion.inputs.vectors import Options as Options
from emotion.inputs.vectors import Vectors, VoiceVectors, without_times
from emotion.lazy import optional

REQUIREMENTS = "requirements-functionals.txt"


@dataclass(frozen=True)
class Extraction:
    """Which sets are made."""

    functionals: list[str] = flag(  # noqa: RUF009
        [],
        "sets of openSMILE, one vector a clip, free for research alone (pip install -r "
        "requirements-functionals.txt)",
        "features",
        ("eGeMAPSv02", "ComParE_2016"),
        type=str,
    )


class Functionals(VoiceVectors):
    """One set; see the module."""

    over_time = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.set = name.partition(registry.FAMILY)[2]
        self.folder = name.replace(":", "_")
        missing = f"has no {name}; run preprocess.py --functionals {self.set}"
        self.reasons = self.reasons | {"missing": missing}

    def describe(self, options: Extraction) -> dict[str, Any]:
        """The version of openSMILE, where the set is asked for.

        Raises:
            UserError: it is not installed.
        """
        if self.set not in options.functionals:
            return {}
        return {self.name: f"opensmile {_library().__version__}"}

    def is_made(self, settings: dict[str, Any]) -> bool:
        """Where it is asked for."""
        return self.name in settings

    def open(self, settings: dict[str, Any], options: Extraction, device: str) -> Any:
        """OpenSMILE with this set.

        Raises:
            UserError: it is not installed, or is another version than the one the settings name.
        """
        library = _library()
        if settings[self.name] != (here := f"opensmile {library.__version__}"):
            raise UserError(
                f"{self.name}: made by {settings[self.name]}, here is {here}; pip install -r "
                f"{REQUIREMENTS}"
            )
        return library.Smile(
            feature_set=library.FeatureSet[self.set],
            feature_level=library.FeatureLevel.Functionals,
        )

    def extract(self, media: Media, settings: dict[str, Any], tools: Any) -> Vectors:
        """One vector float32 (1, D) of the speech; what openSMILE cannot say is 0.

        Raises:
            Absent: there is no sound, or no speech in it.
        """
        found = tools.process_signal(media.spoken(), SAMPLE_RATE).to_numpy(np.float32)
        return without_times(np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0))


def _library() -> Any:
    return optional("opensmile", "--functionals", REQUIREMENTS)


@cache
def feature(name: str) -> Functionals:
    """The feature of this name."""
    return Functionals(name)
