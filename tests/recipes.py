"""Recipes for tests: what the flags of train.py would make of a folder of features."""

from emotion import registry
from emotion.recipe import Part, Recipe
from emotion.registry import FUSED

FEATURES = {  # modality -> kind -> feature and its width
    "speech": {"spectrogram": ("speech", 128)},
    "face": {"vectors": ("embedding", 512), "crops": ("video", 3)},
    "text": {"vectors": ("text", 200)},
}
ENCODERS = {"speech": "efficientnet", "face": "attention_lstm", "text": "attention_lstm"}


class Flags(dict):
    """Given flags as attributes; what is not given has its default."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def part_of(modality, **flags):
    """One part: ``<modality>_model`` names the encoder, ``text_dim`` the width of the words."""
    encoder = flags.get(f"{modality}_model", ENCODERS[modality])
    kind = registry.ENCODERS[encoder].kind
    feature, width = FEATURES[modality][kind]
    width = flags.get("text_dim", width) if modality == "text" else width
    given = Flags({"speech_frames": 32, **flags})
    classes = [
        registry.options_class(registry.load(*line))
        for line in (("FEATURES", feature), ("ENCODERS", encoder))
    ]
    reading, network = (registry.pick(one, given) for one in classes)
    return Part(modality, feature, width, reading, encoder, network)


def recipe_of(mode, n_classes=7, multitask=False, **flags):
    """A recipe by the names of flags; ``multitask``: heads of speech and face beside the fused."""
    if mode != FUSED:
        return Recipe(mode, n_classes, (part_of(mode, **flags),))
    fusion = flags.get("fusion", "aligned")
    join = registry.pick(registry.options_class(registry.load("FUSIONS", fusion)), Flags(flags))
    parts = tuple(part_of(name, **flags) for name in flags.get("modalities", FEATURES))
    heads = ("speech", "face") if multitask else ()
    return Recipe(mode, n_classes, parts, fusion, join, heads)
