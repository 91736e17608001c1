"""From flags and a folder of features to what a model is made of."""

from collections.abc import Sequence

from emotion import distributed, registry
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.recipe import Part, Recipe
from emotion.records import Record
from emotion.telling import note
from emotion.training.options import TrainOptions


def choose_recipe(options: TrainOptions, store: FeatureStore, n_classes: int) -> Recipe:
    """The model that the flags ask for, of the features that there are."""
    fused = options.mode == registry.FUSED
    wanted = registry.modalities() if fused else (options.mode,)
    records = [(split, r) for split in store.splits() for r in store.read_manifest(split)]
    there = {name for _, r in records for name, state in r.states.items() if state == "ok"}
    if fused:  # a modality that a folder has nothing of is none of the model's
        known = {
            registry.feature_line(n).modality for n in registry.feature_names(there) if n in there
        }
        wanted = tuple(m for m in wanted if m in known) or wanted
    check_names(options.features, wanted, there)
    parts = tuple(_part(options, modality, store, records, there) for modality in wanted)
    if not fused:
        return Recipe(options.mode, n_classes, parts)
    module = registry.load("FUSIONS", options.fusion)
    join = registry.pick(registry.options_class(module), options)
    return Recipe(options.mode, n_classes, parts, options.fusion, join)


def _part(
    options: TrainOptions,
    modality: str,
    store: FeatureStore,
    records: list[tuple[str, Record]],
    there: set[str],
) -> Part:
    """One modality's features and encoder."""
    choice = getattr(options, f"{modality}_model")
    encoder, feature = _choose(modality, choice, options.features, there)
    *layers, width = _shape(store, records, feature)
    read, network = registry.load("FEATURES", feature), registry.load("ENCODERS", encoder)
    return Part(
        modality=modality,
        feature=feature,
        width=width,
        reading=registry.pick(registry.options_class(read), options),
        encoder=encoder,
        network=registry.pick(registry.options_class(network), options),
        layers=layers[0] if layers else 1,
    )


def _choose(modality: str, choice: str, features: list[str], there: set[str]) -> tuple[str, str]:
    """An encoder and the features that it reads: those that ``--features`` names, else the first
    of which there are some.

    Raises:
        UserError: there are no features of the name that is given.
    """
    named = _named(modality, features, there)
    encoders = registry.encoders_of(modality) if choice == "auto" else [choice]
    pairs = [
        (encoder, feature)
        for encoder in encoders
        for feature in registry.features_of(modality, registry.ENCODERS[encoder].kind, there)
        if (feature in named if named else registry.COPY not in feature)
    ]
    if not pairs:
        raise UserError(
            f"--features {' '.join(named)}: --{modality}_model {choice} does not read that; give "
            "another of the two"
        )
    chosen = next((pair for pair in pairs if pair[1] in there), pairs[0])
    others = len({feature for _, feature in pairs}) > 1
    if choice == "auto" and others and distributed.is_main():
        reason = "is present" if chosen[1] in there else "would be read"
        note(f"--{modality}_model auto: {chosen[0]}, because the feature {chosen[1]} {reason}")
    return chosen


def _named(modality: str, features: list[str], there: set[str]) -> list[str]:
    """The features of a modality that ``--features`` names, whole or by what follows the colon."""
    own = [
        n for n in registry.feature_names(there) if registry.feature_line(n).modality == modality
    ]
    return [n for n in own if n in features or n.partition(registry.FAMILY)[2] in features]


def check_names(features: list[str], wanted: Sequence[str], there: set[str]) -> None:
    """Refuse a name in ``--features`` that no modality of the run has.

    Raises:
        UserError: the line lists what there is.
    """
    for given in features:
        if any(_named(modality, [given], there) for modality in wanted):
            continue
        names = [n for n in registry.feature_names(there) if n in there]
        own = [n for n in names if registry.feature_line(n).modality in wanted]
        raise UserError(
            f"--features {given}: the folder has none of that name, only "
            f"{' '.join(own) or 'none'}; run preprocess.py with the flag that makes them"
        )


def _shape(store: FeatureStore, records: list[tuple[str, Record]], feature: str) -> tuple[int, ...]:
    """Of a step, seen from the first clip that has any; (1,) where none has."""
    made = registry.feature(feature)
    for split, record in records:
        if record.state(feature) == "ok":
            return made.shape(StoredClip(store, split, record).read(feature))
    return (1,)
