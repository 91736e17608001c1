"""Models: an encoder and a head for one modality; encoders, a fusion and heads for several."""

from typing import Any

from torch import Tensor, nn

from emotion import registry
from emotion.errors import UserError
from emotion.networks.attention import Head
from emotion.networks.fusion import Attention, Fusion, Streams, drop_modalities
from emotion.networks.layers import WeightedLayers
from emotion.networks.presence import encode_present
from emotion.recipe import Part, Recipe
from emotion.records import Batch, Stream


class SingleModel(nn.Module):
    """``encoder`` (Stream -> Stream) and ``head`` (pooling, dropout, linear) of one modality."""

    def __init__(self, mode: str, encoder: nn.Module, head: Head, sparse: bool = True) -> None:
        """``sparse``: a clip may come without a single step, as a cut in which no face is found."""
        super().__init__()
        self.started: list[str] = []  # modalities whose encoders start from weights
        self.mode = mode
        self.encoder = encoder
        self.head = head
        self.sparse = sparse

    def encode(self, batch: Batch) -> Stream:
        """The steps before pooling, values (B, N, D)."""
        stream = batch.streams[self.mode]
        # asking who has none waits for the device
        return encode_present(self.encoder, stream) if self.sparse else self.encoder(stream)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Logits (B, n_classes) under the name of the mode."""
        return {self.mode: self.head(self.encode(batch), batch)}

    def attention(self, batch: Batch) -> dict[str, Attention]:
        """What the pooling attends to."""
        stream = self.encode(batch)
        return {self.mode: Attention(self.head.pooling.weights(stream), stream.time)}


class MultimodalModel(nn.Module):
    """``encoders``, ``fusion`` and ``heads``, by modality.

    The encoders and heads are those of the single models, so their checkpoints load. ``heads`` is
    empty where the fused head learns alone: no parameter is without a gradient, as distributed
    training asks.
    """

    def __init__(
        self,
        encoders: dict[str, nn.Module],
        fusion: Fusion,
        heads: dict[str, Head],
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.started: list[str] = []  # modalities whose encoders start from weights
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.heads = nn.ModuleDict(heads)
        self.modality_dropout = modality_dropout  # chance in training, set by who trains
        self.frozen = False

    def encode(self, batch: Batch) -> Stream:
        """What the last pooling reads: fused steps, or one step."""
        return self.fusion.encode(self._encode_each(batch), batch.clock)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Logits (B, n_classes): "integrated", and those of the single heads."""
        streams = self._encode_each(batch)
        # the single heads see every modality: dropout is the fusion's exercise
        logits = {name: head(streams[name], batch) for name, head in self.heads.items()}
        if self.training and self.modality_dropout > 0.0:
            streams = drop_modalities(streams, self.modality_dropout)
        return {"integrated": self.fusion(streams, batch.clock, batch)} | logits

    def attention(self, batch: Batch) -> dict[str, Attention]:
        """What the answer rests on: shares of the steps of each modality, 0 where it is absent."""
        return self.fusion.attention(self._encode_each(batch), batch.clock)

    def train(self, mode: bool = True) -> "MultimodalModel":
        """Set the mode; frozen encoders stay in evaluation, batch statistics and dropout too."""
        super().train(mode)
        if self.frozen:
            self.encoders.eval()
        return self

    def freeze(self, frozen: bool = True) -> None:
        """Hold the encoders, or let them go: no gradients, and evaluation mode."""
        self.frozen = frozen
        self.encoders.requires_grad_(not frozen)
        self.train(self.training)

    def _encode_each(self, batch: Batch) -> Streams:
        return {
            name: encode_present(encoder, batch.streams[name])
            for name, encoder in self.encoders.items()
        }


def build_model(recipe: Recipe) -> SingleModel | MultimodalModel:
    """The model of a recipe, with random weights.

    It has ``encode(batch) -> Stream``, ``forward(batch) -> {name: logits (B, n_classes)}`` and
    ``attention(batch) -> {modality: Attention}``.

    Raises:
        UserError: a component is not here.
    """
    if not recipe.fusion:
        (part,) = recipe.parts
        encoder = build_encoder(part)
        head = component(part).build_head(part, encoder.width, recipe.n_classes)
        return SingleModel(recipe.mode, encoder, head, part.kind != registry.SPECTROGRAM)
    encoders = {part.modality: build_encoder(part) for part in recipe.parts}
    widths = {name: encoder.width for name, encoder in encoders.items()}
    module = registry.load("FUSIONS", recipe.fusion)
    fusion = module.build(recipe.join, widths, recipe.n_classes)
    heads = {}
    for name in recipe.heads:
        part = recipe.part(name)
        heads[name] = component(part).build_head(part, widths[name], recipe.n_classes)
    return MultimodalModel(encoders, fusion, heads)


def build_encoder(part: Part) -> nn.Module:
    """The encoder of a part, behind a weighted mean where the features have several layers and it
    does not read them all (``READS_LAYERS``).
    """
    encoder = component(part).build(part)
    one = part.layers == 1 or getattr(component(part), "READS_LAYERS", False)
    return encoder if one else WeightedLayers(encoder, part.layers)


def component(part: Part) -> Any:
    """The module of a part's encoder."""
    return registry.load("ENCODERS", part.encoder)


def backbone_of(model: SingleModel | MultimodalModel) -> list[nn.Parameter]:
    """The parameters of the encoders that start from weights."""
    return [p for name in model.started for p in encoder_of(model, name).parameters()]


def load_published(model: nn.Module, recipe: Recipe, pretrained: str) -> list[str]:
    """Published weights of the encoders, where there are any; the modalities that got some.

    Args:
        model: of the recipe.
        recipe: the parts that get them.
        pretrained: true, auto or false.
    """
    loaded = []
    for part in recipe.parts:
        load = getattr(component(part), "load_pretrained", None)
        if load is not None and load(encoder_of(model, part.modality), part, pretrained):
            loaded.append(part.modality)
    return loaded


def encoder_of(model: nn.Module, modality: str) -> nn.Module:
    """The encoder of one modality."""
    return model.encoders[modality] if isinstance(model, MultimodalModel) else model.encoder


def load_encoder(model: MultimodalModel, modality: str, state: dict[str, Tensor]) -> None:
    """Load a single model's ``state_dict`` into the encoder of ``modality``, and its head if any.

    Raises:
        UserError: the weights are not those of this encoder.
    """
    parts = {"encoder.": model.encoders[modality]}
    if modality in model.heads:
        parts["head."] = model.heads[modality]
    for prefix, part in parts.items():
        own = {name[len(prefix) :]: v for name, v in state.items() if name.startswith(prefix)}
        try:
            part.load_state_dict(own)
        except RuntimeError as error:
            raise UserError(
                f"--{modality}_load_weights: these weights do not fit the {modality} "
                f"{prefix[:-1]} ({_first_reason(error)}); give a checkpoint of --mode {modality} "
                "with the same model flags"
            ) from error


def _first_reason(error: RuntimeError) -> str:
    """The first detail of load_state_dict's many-line message."""
    lines = [line.strip() for line in str(error).splitlines()]
    return (lines[1] if len(lines) > 1 else lines[0])[:120]
