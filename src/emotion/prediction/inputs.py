"""What is to be answered: files, folders and splits, as items in a fixed order."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from emotion import registry
from emotion.data.class_map import class_indices
from emotion.data.examples import load_parts
from emotion.data.folds import Folds
from emotion.errors import UserError
from emotion.files import read_csv, read_json
from emotion.inputs.extraction import extraction_of
from emotion.inputs.given_words import given
from emotion.inputs.store import SPLITS, FeatureStore
from emotion.models.checkpoint import Checkpoint
from emotion.paths import HOME
from emotion.prediction.enrolment import enrolled
from emotion.prediction.fitting import check_settings
from emotion.prediction.members import Member
from emotion.records import Clip, Labels, Named, Record
from emotion.telling import note, tell

MEDIA = (
    *(".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".3gp", ".flv"),
    *(".wav", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".aac", ".wma"),
)
TABLE = ".csv"
NOTHING = (
    "nothing to answer: give --input PATH [PATH ...] or --split test, or words alone by "
    "--transcripts"
)


class Item(NamedTuple):
    """One clip to answer: a media file, or with ``store`` and ``record`` a clip of features/."""

    clip: Clip
    store: FeatureStore | None = None
    record: Record | None = None
    corpus: str = ""  # whose clip it is; empty for a media file, which may be anybody's

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.clip.stem if self.store or not self.clip.path else str(self.clip.path)

    def places(self, tables: bool) -> list[str]:
        """``split/stem`` of the clip in features/; of a media file, all that it may be there.

        Args:
            tables: whether the features may be a table's, which gives clips their splits, and
                those without an id the name of their path.
        """
        if self.store is not None:
            return [f"{self.clip.split}/{self.clip.stem}"]
        above = self.clip.path.absolute().parts[1:-1] if self.clip.path else ()
        splits = [part for part in (self.clip.split, *above, "all") if part in SPLITS]
        places = [f"{split}/{self.clip.stem}" for split in splits]
        if not tables:
            return places
        name_of = registry.load("CORPORA", "table").name_of
        names = ["/".join((*above[n:], self.clip.stem)) for n in range(len(above) + 1)]
        return places + [f"{split}/{name_of(name)}" for split in SPLITS for name in names]


def find_items(
    inputs: Sequence[str],
    split: str,
    features_dir: str,
    members: Sequence[Member],
    class_map: str = "",
) -> list[Item]:
    """Everything that ``--input`` and ``--split`` name, in that order, folders sorted by name.

    Raises:
        UserError: a path does not exist or holds no clips, or features were made otherwise, or
            ``class_map`` does not fit their classes, or nobody says whose voice a file is where
            a model has to know.
    """
    if not inputs and not split:
        raise UserError(NOTHING)
    items = [item for given in inputs for item in _items_of(Path(given), members, class_map)]
    items = _with_speakers(items, members, features_dir)
    _check_analysis(items, members)
    if split:
        store = FeatureStore(Path(features_dir or HOME / "features"))
        items += _stored(store, split, members, class_map)
    return _unique_ids(items)


def words_alone(options: Any) -> list[str]:
    """FileIDs of ``--transcripts`` where nothing else is given to answer."""
    if options.input or options.split:
        return []
    return list(given(tuple(options.transcripts)).words or ())


def items_of_words(names: Sequence[str]) -> list[Item]:
    """Clips of which only the words are there."""
    return [Item(Clip(name, name, None, "input", None, Labels(), None)) for name in names]


def read_labels(path: Path, class_names: Sequence[str]) -> dict[str, int]:
    """``FileID,Emotion`` rows as FileID -> class index.

    Raises:
        UserError: no such file, other columns, or a label that the models do not know.
    """
    heading, found = read_csv(path, "give a CSV with the columns FileID,Emotion", "--labels")
    if not {"FileID", "Emotion"} <= set(heading):
        raise UserError(f"--labels {path}: wants the columns FileID,Emotion")
    rows = [(row["FileID"].strip(), row["Emotion"].strip()) for row in found]
    for identifier, emotion in rows:
        if emotion not in class_names:
            known = " ".join(class_names)
            raise UserError(f"--labels {path}: {identifier} is {emotion!r}, not one of {known}")
    return {identifier: class_names.index(emotion) for identifier, emotion in rows}


def with_labels(items: Sequence[Item], labels: dict[str, int]) -> list[Item]:
    """The items with integrated labels from a file."""
    return [
        item._replace(clip=item.clip._replace(labels=Labels(labels.get(item.clip.id))))
        for item in items
    ]


def blocked_features(options: Any, members: Sequence[Member], items: Sequence[Item]) -> list[str]:
    """Features that the models read and that cannot be made of media files here.

    ``options`` holds the fields of features' ``Extraction`` that predict.py has as flags.

    Raises:
        UserError: a model reads nothing else, or what is here is not what it was trained on.
    """
    if items and all(item.store is not None for item in items):
        return []
    blocked = {}
    for member in members:
        for part in member.recipe.parts:
            feature = registry.feature(part.feature)
            if not feature.is_made(member.settings):
                continue
            own = registry.pick(extraction_of(part.feature), options)
            try:
                reason = feature.obstacle(member.settings, own)
            except UserError as error:
                raise UserError(f"{error}; {member.checkpoint.path} wants that") from error
            if reason and len(member.recipe.parts) == 1:
                raise UserError(
                    f"{member.checkpoint.path}: {feature.reasons['model']}, or answer a split of "
                    "features/"
                )
            if reason:
                blocked[part.feature] = reason
    for reason in blocked.values():
        note(reason)
    return list(blocked)


def _items_of(path: Path, members: Sequence[Member], class_map: str) -> list[Item]:
    if path.suffix.lower() == TABLE and path.is_file():
        names = members[0].checkpoint.class_names
        return [Item(clip) for clip in registry.load("CORPORA", "table").load(path, names).clips]
    if path.is_file():
        return [Item(_media_clip(path, members[0]))]
    if (path / "manifest.csv").is_file():
        return _stored(FeatureStore(path.parent), path.name, members, class_map)
    if not path.is_dir():
        raise UserError(f"--input {path}: no such file or folder")
    paths = sorted(p for p in path.rglob("*") if p.suffix.lower() in MEDIA and p.is_file())
    if not paths:
        raise UserError(f"--input {path}: holds no video or audio files ({' '.join(MEDIA)})")
    return [Item(_media_clip(p, members[0])) for p in paths]


def _media_clip(path: Path, member: Member) -> Clip:
    corpus = member.checkpoint.features.get("corpus", "")
    identifier, speaker, labels, sex = _parse_name(path.stem, corpus)
    labels = _as_known(labels, member.checkpoint)
    words = [path.with_name(f"{name}.npz") for name in (identifier, path.stem)]
    text = next((words for words in words if words.is_file()), None)
    return Clip(identifier, path.stem, path, "input", speaker, labels, text, sex=sex)


def _as_known(labels: Labels, checkpoint: Checkpoint) -> Labels:
    """Labels that count the classes of the corpus, as those of the model: it may know fewer."""
    known = checkpoint.class_names
    names = checkpoint.features.get("class_names", known)
    of = {number: known.index(name) for number, name in enumerate(names) if name in known}
    return Labels(*(of.get(label) for label in labels))


def _parse_name(stem: str, corpus: str) -> Named:
    """FileID, speaker and labels, where the name has the form of the corpus the model was trained
    on.
    """
    nothing = Named(stem, None, Labels())
    if corpus not in registry.CORPORA:
        return nothing
    parse = getattr(registry.load("CORPORA", corpus), "parse_name", None)
    try:
        return parse(stem) if parse else nothing
    except Exception:  # of another form, whatever the corpus's code makes of that
        return nothing


def shared_classes(
    items: Sequence[Item], class_map: str, class_names: Sequence[str]
) -> list[int] | None:
    """Indices of the classes that the model and the corpora have; None without ``--class_map``.

    Raises:
        UserError: the clips are of no corpus whose classes are known, or share fewer than two.
    """
    if not class_map:
        return None
    stores = {item.store.root: item.store for item in items if item.store is not None}
    if not stores or any(item.store is None for item in items):
        raise UserError(
            f"--class_map {class_map}: goes with features, which say what classes there are; give "
            "--split all --features_dir DIR"
        )
    shared: set[int] = set()
    for store in stores.values():
        shared |= {*_label_indices(store, class_map, class_names).values()} - {-1}
    if len(shared) < 2:
        raise UserError(
            f"--class_map {class_map}: the features share only the class "
            f"{class_names[min(shared)]} with the model, and there is nothing to tell apart"
        )
    return sorted(shared)


def _label_indices(
    store: FeatureStore, class_map: str, class_names: Sequence[str]
) -> dict[str, int]:
    """Class of the features -> index of the model's, where it has it."""
    if not class_map:
        return {name: number for number, name in enumerate(class_names)}
    others = store.read_description()["class_names"]
    return class_indices(class_map, others, class_names, str(store.root))


def _stored(
    store: FeatureStore, split: str, members: Sequence[Member], class_map: str
) -> list[Item]:
    description = store.read_description()
    if description is None:
        raise UserError(f"{store.root}: holds no features; run preprocess.py first")
    for member in members:
        path = member.checkpoint.path
        check_settings(store, description["settings"], member.recipe, member.settings, path)
    index = _label_indices(store, class_map, members[0].checkpoint.class_names)

    def item(part: str, record: Record) -> Item:
        found = (index.get(getattr(record, kind), -1) for kind in Labels._fields)
        labels = Labels(*(None if label < 0 else label for label in found))
        path = store.root / part / record.stem
        sex = record.sex or _parse_name(record.stem, description["corpus"]).sex
        clip = Clip(record.id, record.stem, path, part, record.speaker, labels, None, sex=sex)
        return Item(clip, store, record, description["corpus"])

    if split in store.splits():
        return [item(split, record) for record in store.read_manifest(split)]
    if "all" in store.splits() and split in ("train", "val", "test"):
        wanted = _part_of_runs(store, split, members)
        return [item("all", r) for r in store.read_manifest("all") if r.stem in wanted]
    raise UserError(f"{store.root}: has no split {split}, only {' '.join(store.splits())}")


def _part_of_runs(store: FeatureStore, split: str, members: Sequence[Member]) -> set[str]:
    """Stems of the clips that any of the runs trained on, validated on or tested on."""
    names = members[0].checkpoint.class_names
    dropped = set(store.read_description()["class_names"]) - set(names)
    stems: set[str] = set()
    for folds in dict.fromkeys(_folds_of_run(store, member) for member in members):
        parts = load_parts(store, names, lambda _: True, "", folds, dropped=dropped)
        stems |= {example.record.stem for example in getattr(parts, split)}
    return stems


def _folds_of_run(store: FeatureStore, member: Member) -> Folds:
    """The folds that a run was trained with, from the config.json of its folder."""
    path = member.checkpoint.path.parent / "config.json"
    mend = (
        f"{store.root} has no official splits, and the file does not say which folds the model was "
        "trained on; give --split all"
    )
    folds = read_json(path, mend, _parse_folds)
    if not folds.n_folds:
        raise UserError(f"{store.root}: has no official splits; give --split all")
    return folds


def _parse_folds(config: dict[str, Any]) -> Folds:
    options = config["options"]
    folds = Folds(options["n_folds"], options["fold"], options.get("valid_fold", 1))
    numbers = [folds.fold, folds.valid_fold]
    if not isinstance(folds.n_folds, str):
        numbers.append(folds.n_folds)
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("no numbers of folds")
    if folds.n_folds in (1, 2):
        raise ValueError("no folds")
    return folds


def _with_speakers(
    items: Sequence[Item], members: Sequence[Member], features_dir: str
) -> list[Item]:
    """Media files with those whose voice they are, where a model wants to know."""
    media = enrolled([item.clip for item in items if item.store is None], members, features_dir)
    found = iter(media)
    return [i if i.store is not None else i._replace(clip=next(found)) for i in items]


def _check_analysis(items: Sequence[Item], members: Sequence[Member]) -> None:
    """Refuse media files where a model knows features that this program makes no more."""
    media = next((item for item in items if item.store is None), None)
    for member in members if media is not None else ():
        for part in member.recipe.parts:
            reason = registry.feature(part.feature).outdated(member.settings)
            if reason:
                raise UserError(
                    f"{member.checkpoint.path}: {reason}; run preprocess.py into another "
                    "--features_dir and train it again"
                )


def _unique_ids(items: Sequence[Item]) -> list[Item]:
    """FileIDs that no two items share: the stem, then the path, where the corpus's form is not."""
    for longer in _LONGER:
        counts = Counter(item.clip.id for item in items)
        items = [
            item._replace(clip=item.clip._replace(id=longer(item)))
            if counts[item.clip.id] > 1
            else item
            for item in items
        ]
    twice = [name for name, count in Counter(i.clip.id for i in items).items() if count > 1]
    if twice:
        tell(f"warning: {twice[0]} is given more than once; so are its rows")
    return list(items)


_LONGER: tuple[Callable[[Item], str], ...] = (
    lambda item: item.clip.stem,
    lambda item: item.clip.path.name if item.clip.path else item.clip.id,
    lambda item: str(item.clip.path or item.clip.id),
)
