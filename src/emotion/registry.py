"""Name -> component. A component is one file, and here is its line.

A line names a module by a string, so that listing what there is imports nothing. ``--extend FILE``
adds the lines that stand in a file of one's own (``docs/EXTENDING.md``): the same dictionaries,
under the same names.
"""

import ast
import dataclasses
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from emotion.command_line import flag, nearest
from emotion.errors import UserError, first_line

SPECTROGRAM, CROPS, VECTORS = "spectrogram", "crops", "vectors"  # kinds of features
SPOKEN = "spoken"  # words, which no network reads before they are embedded
FAMILY = ":"  # in the name of features of which there are as many as there are networks
COPY = "@"  # before what a copy of features was changed by: speech:whisper-base@0.9
FUSED = "multimodal"  # the mode that joins all modalities
EXTENSIONS = "EMOTION_EXTEND"  # environment: what --extend names, for the processes started here


class FeatureLine(NamedTuple):
    """What is extracted, stored and read under one name.

    A name that ends in a colon is that of a family: one module, and as many features as there are
    networks to name, such as ``speech:whisper-base``. It holds ``feature(name)`` in place of
    ``FEATURE``, and ``describe(options)`` says which of them are made. A name with a colon in it is
    of features that a folder has or has not; nobody misses them.
    """

    modality: str
    kind: str  # decides how it is stored, and which encoders read it
    module: str


class EncoderLine(NamedTuple):
    """A network over the features of one kind, of whichever modality."""

    kind: str
    module: str


CORPORA: dict[str, str] = {
    "qia2020": "emotion.corpora.qia2020",
    "ravdess": "emotion.corpora.ravdess",
    "ravdess_song": "emotion.corpora.ravdess_song",
    "cremad": "emotion.corpora.cremad",
    "meld": "emotion.corpora.meld",
    "emodb": "emotion.corpora.emodb",
    "table": "emotion.corpora.table",
}
FEATURES: dict[str, FeatureLine] = {  # in the order in which they are extracted
    "speech": FeatureLine("speech", SPECTROGRAM, "emotion.inputs.log_mel"),
    "video": FeatureLine("face", CROPS, "emotion.inputs.crops"),
    "embedding": FeatureLine("face", VECTORS, "emotion.frozen.vggface"),
    "text:transcript": FeatureLine("text", SPOKEN, "emotion.inputs.transcription"),
    "text": FeatureLine("text", VECTORS, "emotion.inputs.words"),
    "speech:": FeatureLine("speech", VECTORS, "emotion.inputs.speech_states"),
    "speech:eGeMAPSv02": FeatureLine("speech", VECTORS, "emotion.frozen.functionals"),
    "speech:ComParE_2016": FeatureLine("speech", VECTORS, "emotion.frozen.functionals"),
    "speech:vectors": FeatureLine("speech", VECTORS, "emotion.inputs.own_vectors"),
    "face:vectors": FeatureLine("face", VECTORS, "emotion.inputs.own_vectors"),
    "text:vectors": FeatureLine("text", VECTORS, "emotion.inputs.own_vectors"),
    "face:": FeatureLine("face", VECTORS, "emotion.inputs.face_states"),
}
ENCODERS: dict[str, EncoderLine] = {  # auto takes the first whose features are there
    "efficientnet": EncoderLine(SPECTROGRAM, "emotion.networks.efficientnet"),
    "attention_lstm": EncoderLine(VECTORS, "emotion.networks.attention_lstm"),
    "efficientnet_lite0": EncoderLine(SPECTROGRAM, "emotion.networks.efficientnet_lite"),
    "efficientnet_lite1": EncoderLine(SPECTROGRAM, "emotion.networks.efficientnet_lite"),
    "efficientnet_lite2": EncoderLine(SPECTROGRAM, "emotion.networks.efficientnet_lite"),
    "efficientnet_small": EncoderLine(SPECTROGRAM, "emotion.networks.efficientnet_small"),
    "resnet3d": EncoderLine(CROPS, "emotion.networks.resnet3d"),
    "mlstm_fcn": EncoderLine(VECTORS, "emotion.networks.mlstm_fcn"),
    "mlp": EncoderLine(VECTORS, "emotion.networks.mlp"),
    "linear": EncoderLine(VECTORS, "emotion.networks.mlp"),
}
FUSIONS: dict[str, str] = {
    "aligned": "emotion.networks.aligned",
    "decoder": "emotion.networks.decoder",
    "concat": "emotion.networks.concat",
}
TABLES = {"CORPORA": CORPORA, "FEATURES": FEATURES, "ENCODERS": ENCODERS, "FUSIONS": FUSIONS}
_extended: list[str] = []  # files whose lines are in the tables
_brought: dict[str, list[str]] = {table: [] for table in TABLES}  # names of these lines


def modalities() -> tuple[str, ...]:
    """Every modality, in the order of its first features."""
    return tuple(dict.fromkeys(line.modality for line in FEATURES.values()))


def encoders_of(modality: str) -> list[str]:
    """Names of the encoders that can read some features of a modality."""
    kinds = {line.kind for line in FEATURES.values() if line.modality == modality}
    return [name for name, line in ENCODERS.items() if line.kind in kinds]


def features_of(modality: str, kind: str, known: Iterable[str] = ()) -> list[str]:
    """Names of the features of a modality that are of a kind; see ``feature_names``."""
    lines = {name: feature_line(name) for name in feature_names(known)}
    return [name for name, of in lines.items() if of.modality == modality and of.kind == kind]


def feature_names(known: Iterable[str] = ()) -> list[str]:
    """All features, in the order in which they are extracted: those that every folder has, and of
    ``known`` (such as the settings of a features folder) those that some have.
    """
    families = {name: family_of(name) for name in sorted(known)}
    some = {line: [n for n, own in families.items() if line in (n, own)] for line in FEATURES}
    return [n for name in FEATURES for n in (some[name] if FAMILY in name else [name])]


def family_of(name: str) -> str:
    """The family of a feature; nothing where it has a line of its own, or is none."""
    family = name[: name.find(FAMILY) + 1]
    return family if name != family and family in FEATURES and name not in FEATURES else ""


def copies_of(name: str, known: Iterable[str]) -> list[str]:
    """The changed copies of some features, which training draws from."""
    return sorted(other for other in known if other.startswith(f"{name}{COPY}"))


def feature_line(name: str) -> FeatureLine:
    """The line of a feature, or that of its family.

    Raises:
        UserError: there is none.
    """
    load("FEATURES", name)
    return FEATURES[family_of(name) or name]


def feature(name: str) -> Any:
    """The feature of this name: see ``emotion.inputs.feature.Feature``.

    Raises:
        UserError: there is none.
    """
    module = load("FEATURES", name)
    return module.FEATURE if hasattr(module, "FEATURE") else module.feature(name)


def load(table: str, name: str) -> ModuleType:
    """Import a component: its module.

    Raises:
        UserError: there is no such line, as where a checkpoint wants an extension.
    """
    lines: dict[str, Any] = TABLES[table]
    name = (table == "FEATURES" and family_of(name)) or name
    if name not in lines:
        kind = table.lower().removesuffix("s").replace("corpora", "corpus")
        raise UserError(
            f"there is no {kind} {name!r} here{nearest(name, list(lines))}; give the file that "
            "brings it: --extend FILE.py"
        )
    line = lines[name]
    return importlib.import_module(line if isinstance(line, str) else line.module)


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Of a component that has none."""


def options_class(module: ModuleType) -> type:
    """The ``Options`` of a component that is imported."""
    return getattr(module, "Options", NoOptions)


@cache
def options_of(module: str, kind: str = "Options") -> type:
    """A component's ``Options`` (of ``kind`` Extraction: preprocess.py's), read from its file
    without running the rest of it: a network imports torch, which takes seconds, and ``--help``
    waits for none. So the class may use ``flag`` and plain values alone.
    """
    spec = importlib.util.find_spec(module)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in tree.body:  # from another component
        if isinstance(node, ast.ImportFrom) and any(one.name == kind for one in node.names):
            return options_of(node.module, kind)
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind]
    names: dict[str, Any] = {"flag": flag, "dataclass": dataclasses.dataclass}
    try:
        exec(compile(ast.Module(found, []), str(spec.origin), "exec"), names)
    except NameError as error:
        raise UserError(
            f"{spec.origin}: {first_line(error)}: the class {kind} is read without the rest of its "
            "file; use flag and plain values in it"
        ) from error
    return names.get(kind, NoOptions)


def joined(name: str, base: type, modules: Sequence[str], kind: str = "Options") -> type:
    """``base`` with the fields of the components' options: what a script's flags are.

    Args:
        name: of the class, which stands in ``base``'s module.
        base: a dataclass of general flags.
        modules: of the components.
        kind: which of their classes.

    A flag that several components share (``--normalise``) is given to all of them; a field that is
    no ``flag`` is stored in checkpoints alone.

    Raises:
        UserError: two of them mean different things by one name.
    """
    fields: dict[str, dataclasses.Field] = {field.name: field for field in dataclasses.fields(base)}
    added: dict[str, tuple[str, Any, dataclasses.Field]] = {}
    for module in dict.fromkeys(modules):
        for field in dataclasses.fields(options_of(module, kind)):
            if not field.metadata:
                continue
            other = fields.setdefault(field.name, field)
            if _meaning(other) != _meaning(field):
                raise UserError(f"{module}: its flag --{field.name} is another component's too")
            if other is field:
                spec = dataclasses.field(**_default(field), metadata=field.metadata)
                added[field.name] = (field.name, field.type, spec)
    made = dataclasses.make_dataclass(name, added.values(), bases=(base,))
    made.__module__, made.__doc__ = base.__module__, base.__doc__
    return made


def pick(options: type, values: Any) -> Any:
    """An ``options`` record from the fields of that name in a larger one; defaults for others."""
    fields = dataclasses.fields(options)
    return options(**{f.name: getattr(values, f.name) for f in fields if hasattr(values, f.name)})


def extend(files: Sequence[str]) -> None:
    """Run extension files and take up their lines, here and in all processes started from here.

    Raises:
        UserError: a file cannot be run, or brings a name that is there already.
    """
    paths = [str(Path(file).resolve()) for file in files]
    known = [path for path in os.environ.get(EXTENSIONS, "").split(os.pathsep) if path]
    wanted = list(dict.fromkeys([*known, *paths]))
    if wanted:
        os.environ[EXTENSIONS] = os.pathsep.join(wanted)
    for path in wanted:
        if path not in _extended:
            _extended.append(path)
            _take_up(path)


def extensions() -> list[str]:
    """Names of the extension files, which a checkpoint keeps."""
    return [Path(path).name for path in _extended]


def brought(table: str) -> list[str]:
    """Names of the lines that extension files have added to a table."""
    return list(_brought[table])


def _take_up(path: str) -> None:
    name = f"emotion_extension_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or not Path(path).is_file():
        raise UserError(f"--extend {path}: no such file, or none of Python (NAME.py)")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # whatever somebody's code raises
        raise UserError(f"--extend {path}: {type(error).__name__}: {first_line(error)}") from error
    lines = {table: getattr(module, table, {}) for table in TABLES}
    if not any(lines.values()):
        raise UserError(f"--extend {path}: has none of {', '.join(TABLES)}; see docs/EXTENDING.md")
    for table, brought in lines.items():
        if twice := sorted(TABLES[table].keys() & brought.keys()):
            raise UserError(f"--extend {path}: {twice[0]} is there already; choose another name")
        TABLES[table].update(brought)
        _brought[table].extend(brought)


def _default(field: dataclasses.Field) -> dict[str, Any]:
    kind = "default" if field.default_factory is dataclasses.MISSING else "default_factory"
    return {kind: getattr(field, kind)}


def _meaning(field: dataclasses.Field) -> tuple:
    return field.default, field.metadata["help"], field.metadata["choices"]


extend(())  # in a process that was started by one with --extend
