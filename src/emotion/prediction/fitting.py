"""Whether features are what a model reads, and why a clip has none; torch is not needed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from emotion import registry
from emotion.clock import FRAME_SECONDS
from emotion.errors import UserError
from emotion.inputs.feature import agree
from emotion.inputs.store import FeatureStore
from emotion.recipe import Recipe
from emotion.records import ClipFeatures, Record

MOST_FRAMES = 20_000  # of a clip, 5 minutes: a network holds a GB of EfficientNet-B0 for each 4,000


class Fitted(NamedTuple):
    """The features of a clip under a record that leaves out what a model cannot read."""

    clip: ClipFeatures
    record: Record
    version: str = ""

    def read(self, feature: str) -> Any:
        """As the clip itself."""
        return self.clip.read(feature)

    def place(self, feature: str) -> str:
        """As the clip itself."""
        return self.clip.place(feature)


def check_settings(
    store: FeatureStore, found: dict[str, Any], recipe: Recipe, wanted: dict[str, Any], model: Path
) -> None:
    """Refuse features that were made otherwise than those a model was trained on.

    Args:
        store: where they are.
        found: the settings that its features.json names.
        recipe: of the model.
        wanted: the settings that it was trained on.
        model: its file.

    Raises:
        UserError: they differ.
    """
    for name in settings_read(recipe):
        if not agree(found.get(name), wanted.get(name)):
            raise UserError(
                f"{store.root}: its features were made with {name} {found.get(name)}, {model} was "
                f"trained on {wanted.get(name)}; make them agree"
            )


def settings_read(recipe: Recipe) -> list[str]:
    """The settings of preprocessing that decide what a model is shown."""
    return [s for part in recipe.parts for s in registry.feature(part.feature).settings]


def fitted(clip: ClipFeatures, recipe: Recipe) -> tuple[Fitted, list[str]]:
    """A clip with only those features that a model can read, and what was wrong with the others.

    Raises:
        UserError: a file is missing or damaged.
    """
    wrong = _misfits(clip, recipe)
    states = clip.record.states | dict.fromkeys(wrong, "failed")
    return Fitted(clip, clip.record._replace(states=states)), list(wrong.values())


def absences(record: Record, features: Iterable[str]) -> list[str]:
    """Why a clip has none of ``features``."""
    wanted = set(features)
    return [
        registry.feature(name).reasons.get(record.state(name), f"has no {name} features")
        for name in registry.feature_names(wanted)
        if name in wanted
    ]


def _misfits(clip: ClipFeatures, recipe: Recipe) -> dict[str, str]:
    """Features of a clip that are none for this model, and why."""
    found = {}
    for part in recipe.parts:
        if clip.record.state(part.feature) != "ok":
            continue
        frames = int(clip.record.fact("frames"))
        if part.kind == registry.SPECTROGRAM and frames > MOST_FRAMES:
            found[part.feature] = (
                f"{part.feature}: lasts {frames * FRAME_SECONDS:.0f} s, more than "
                f"{MOST_FRAMES * FRAME_SECONDS:.0f}; give predict.py --timeline True"
            )
        made = registry.feature(part.feature)
        shape = part.shape if made.of_media else made.shape(clip.read(part.feature))
        if shape != part.shape:
            found[part.feature] = (
                f"{part.feature}: its steps have {shape[-1]} numbers each, the model reads "
                f"{part.width}"
            )
    return found
