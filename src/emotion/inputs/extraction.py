"""One clip to its features. The same code serves preprocessing and prediction."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple

from emotion import registry
from emotion.errors import UserError, first_line
from emotion.inputs.feature import Absent, Feature, Window
from emotion.inputs.media import Media, MediaWindow
from emotion.inputs.video import MediaError
from emotion.records import Clip, ClipFeatures, Labels, Record


@dataclass
class Extracted:
    """What was taken from one clip; ``states`` say why something is not there."""

    duration: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    facts: dict[str, float | None] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)  # (feature, reason)

    def clip(self, clip: Clip) -> "ExtractedClip":
        """The features as those of a clip without labels."""
        labels = dict.fromkeys(Labels._fields, "")
        return ExtractedClip(self.record(clip, labels), self.values)

    def record(self, clip: Clip, labels: dict[str, str]) -> Record:
        """The clip's row in a manifest, with names of its labels."""
        named = {"id": clip.id, "stem": clip.stem, "speaker": clip.speaker or "", **labels}
        found = {"duration": self.duration, "states": self.states, "facts": self.facts}
        return Record(**named, **found, sex=clip.sex)


class ExtractedClip(NamedTuple):
    """The features of a clip that was just extracted; see ``ClipFeatures``."""

    record: Record
    values: dict[str, Any]
    version: str = ""

    def read(self, feature: str) -> Any:
        """What was extracted."""
        return self.values[feature]

    def place(self, feature: str) -> str:
        """What messages call it."""
        return f"{self.record.stem}: {feature}"


class Extractor:
    """Takes features from clips; the networks for it are opened when first wanted.

    Args:
        settings: what features.json says of them, or a checkpoint.
        options: a record with the fields of their ``Extraction``.
        device: of the networks.
        features: names of those that are wanted; what they are made of is taken too.
        blocked: names of those that cannot be made here: they are skipped.
        staged: features that are made many at a time are left to a stage of its own.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        options: Any,
        device: str = "cpu",
        *,
        features: Sequence[str] = (),
        blocked: Container[str] = (),
        staged: bool = False,
    ) -> None:
        self.blocked = blocked
        self.staged = staged
        self.settings = settings
        self.options = options
        self.device = device
        given = features or registry.feature_names(settings)
        made = [name for name in given if name not in blocked]
        wanted = {*given, *(need for name in made for need in registry.feature(name).needs)}
        if not features:  # what a folder has or has not is in its settings
            wanted = {name for name in wanted if name in given}
        self.features = {
            n: registry.feature(n) for n in registry.feature_names(wanted) if n in wanted
        }
        self._tools: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the networks: another process opens those that it wants."""
        return vars(self) | {"_tools": {}}

    def tools(self, name: str) -> Any:
        """The networks of one feature."""
        if self.staged and self.features[name].staged:
            return None
        if name not in self._tools:
            options = registry.pick(extraction_of(name), self.options)
            self._tools[name] = self.features[name].open(self.settings, options, self.device)
        return self._tools[name]

    def extract(
        self, clip: Clip, stored: ClipFeatures | None = None, only: Sequence[str] | None = None
    ) -> Extracted:
        """All features of a clip, or ``only`` some, the others being ``stored``.

        What cannot be read is a failure of its feature; the rest is kept.

        Raises:
            UserError: of the weights of a network, or of a stored feature.
        """
        return self.take(Media(clip, stored), only)

    def take(self, media: Media, only: Sequence[str] | None = None) -> Extracted:
        """As ``extract``, of a file that is open already."""
        found = Extracted()
        chosen = {k: v for k, v in self.features.items() if only is None or k in only}
        if any(feature.of_media for feature in chosen.values()):
            self._open(media, found)
        for name, feature in chosen.items():
            if media.broken and feature.of_media:
                found.states[name] = "failed"
            elif name in self.blocked:
                found.states[name] = "skipped"
            else:
                self._take(name, feature, media, found)
            value = found.values.get(name) if found.states[name] in feature.kept else None
            found.facts |= feature.describe_clip(media, value)
        found.duration = round(media.duration, 4)
        return found

    def cut(self, media: MediaWindow, values: dict[str, Any]) -> Extracted:
        """The features of a part of a recording, whose own features are ``values``."""
        found = Extracted(duration=media.duration)
        for name, feature in self.features.items():
            if name in self.blocked:
                found.states[name] = "skipped"
            elif feature.anew:
                self._take(name, feature, media, found)
            elif name in values:
                self._cut(name, feature, values[name], media, found)
            else:
                found.states[name] = "absent"
            found.facts |= feature.describe_clip(media, found.values.get(name))
        return found

    def _cut(
        self, name: str, feature: Feature, value: Any, media: MediaWindow, found: Extracted
    ) -> None:
        span = media.start, media.end
        try:
            media.values[name] = found.values[name] = feature.cut(value, Window(*span))
            found.states[name] = "ok"
        except Absent as absent:
            media.values[name] = None
            found.states[name] = absent.state

    def _open(self, media: Media, found: Extracted) -> None:
        try:
            _ = media.info
        except Exception as error:  # whatever a library makes of a broken file
            media.broken = True
            found.failures.append(("open", _reason(error)))

    def _take(self, name: str, feature: Feature, media: Media, found: Extracted) -> None:
        try:
            value = feature.extract(media, self.settings, self.tools(name))
            media.values[name] = found.values[name] = value
            found.states[name] = "ok"
        except Absent as absent:
            found.states[name] = absent.state
            media.values[name] = None
            if absent.value is not None:
                found.values[name] = absent.value
        except UserError:  # of the weights, not of the clip
            raise
        except Exception as error:  # a broken clip costs itself, whatever a library makes of it
            found.failures.append((name, _reason(error)))
            found.states[name] = "failed"
            media.values[name] = None


def extraction_of(name: str) -> type:
    """The ``Extraction`` of a line of the registry."""
    return registry.options_of(registry.feature_line(name).module, "Extraction")


def describe(options: Any) -> dict[str, Any]:
    """What features.json says of all features that these flags make.

    Raises:
        UserError: weights that they name are not there or not usable.
    """
    settings: dict[str, Any] = {}
    for name in registry.FEATURES:
        family = name.endswith(registry.FAMILY)
        made = registry.load("FEATURES", name) if family else registry.feature(name)
        settings |= made.describe(registry.pick(extraction_of(name), options))
    return settings


def _reason(error: Exception) -> str:
    reason = first_line(error)
    if isinstance(error, MediaError):
        return reason
    own = [
        at
        for at in extract_tb(error.__traceback__)
        if Path(at.filename).name in registry.extensions()
    ]
    where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {reason}{where}"
