"""What a model is made of and what it reads: plain values that a checkpoint stores, nested by
component, and rebuilds the model with.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from emotion import registry
from emotion.errors import UserError
from emotion.records import Record


@dataclass(frozen=True)
class Part:
    """One modality of a model: features, how they are read, and the network that reads them."""

    modality: str
    feature: str  # a name in ``registry.FEATURES``
    width: int  # values a step
    reading: Any  # the feature's ``Options``
    encoder: str  # a name in ``registry.ENCODERS``
    network: Any  # the encoder's ``Options``
    layers: int = 1  # of ``width`` values that a step has, of which a weighted mean is read

    @property
    def kind(self) -> str:
        """Of the features."""
        return registry.feature_line(self.feature).kind

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values of a step: (D,), or (L, D)."""
        return (self.layers, self.width) if self.layers > 1 else (self.width,)

    def fits(self, other: "Part") -> str:
        """What keeps the weights of ``other`` from serving here, in words, or nothing.

        Options of training alone may differ.
        """
        for name in ("encoder", "feature", "width", "layers"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                flag = f"--{self.modality}_model" if name == "encoder" else name
                return f"{flag} {theirs}, this run {mine}"
        for mine, theirs in ((self.reading, other.reading), (self.network, other.network)):
            for name, field in mine.__dataclass_fields__.items():
                found, wanted = getattr(theirs, name), getattr(mine, name)
                if found != wanted and not field.metadata.get("training"):
                    return f"--{name} {found}, this run {wanted}"
        return ""


@dataclass(frozen=True)
class Recipe:
    """A model."""

    mode: str  # a modality, or multimodal
    n_classes: int
    parts: tuple[Part, ...]  # in the registry's order
    fusion: str = ""  # a name in ``registry.FUSIONS``
    join: Any = None  # the fusion's ``Options``
    heads: tuple[str, ...] = ()  # modalities with a head of their own beside the fused one

    @property
    def main_head(self) -> str:
        """The head whose answer counts."""
        return "integrated" if self.fusion else self.mode

    @property
    def modalities(self) -> tuple[str, ...]:
        """What is read."""
        return tuple(part.modality for part in self.parts)

    def part(self, modality: str) -> Part:
        """The part of a modality."""
        return next(part for part in self.parts if part.modality == modality)

    def usable(self, record: Record) -> bool:
        """Whether a clip has anything of what is read."""
        return any(record.state(part.feature) == "ok" for part in self.parts)


def describe(recipe: Recipe) -> dict[str, Any]:
    """Nested plain values."""
    return asdict(recipe) | {"parts": [asdict(part) for part in recipe.parts]}


def restore(described: dict[str, Any]) -> Recipe:
    """The recipe that was described.

    Raises:
        UserError: it names a component that is not here.
        TypeError: its options are not those of the component.
    """
    parts = tuple(_restore_part(part) for part in described["parts"])
    fusion = described["fusion"]
    join = (
        registry.options_class(registry.load("FUSIONS", fusion))(**described["join"])
        if fusion
        else None
    )
    heads = tuple(described["heads"])
    if not parts or not all(isinstance(head, str) for head in heads):
        raise TypeError("it reads nothing")
    return Recipe(described["mode"], int(described["n_classes"]), parts, fusion, join, heads)


def restore_reading(described: dict[str, Any]) -> Recipe:
    """What a described model reads, without its networks, which take torch along.

    Raises:
        UserError: it names features that are not here.
        KeyError, TypeError, ValueError: it describes no model.
    """
    parts = tuple(_restore_reading(part) for part in described["parts"])
    if not parts:
        raise TypeError("it reads nothing")
    return Recipe(described["mode"], int(described["n_classes"]), parts, described["fusion"])


def _restore_reading(part: dict[str, Any]) -> Part:
    feature = registry.load("FEATURES", part["feature"])
    reading = registry.options_class(feature)(**part["reading"])
    width, layers = int(part["width"]), int(part.get("layers", 1))
    return Part(str(part["modality"]), part["feature"], width, reading, "", None, layers)


def _restore_part(part: dict[str, Any]) -> Part:
    encoder = registry.load("ENCODERS", part["encoder"])
    kinds = registry.feature_line(part["feature"]).kind, registry.ENCODERS[part["encoder"]].kind
    if kinds[0] != kinds[1]:
        raise UserError(f"{part['encoder']} reads {kinds[1]}, {part['feature']} are {kinds[0]}")
    network = registry.options_class(encoder)(**part["network"])
    return replace(_restore_reading(part), encoder=part["encoder"], network=network)
