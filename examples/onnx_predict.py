"""A model of any mode without torch: ``model.onnx`` is what ``predict.py --weights W --export
model.onnx`` wrote.

It answers clips of a features folder, or, where it reads a spectrogram alone, sound files:

    python examples/onnx_predict.py model.onnx --features features --split test [FileID ...]
    python examples/onnx_predict.py speech.onnx clip.wav [clip.wav ...]

A line a clip on stdout: FileID, the likeliest emotion, its probability.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from emotion import registry
from emotion.command_line import run
from emotion.data.samples import Readers, Sample, clock_of, pad, read_sample, readers_of
from emotion.errors import UserError, first_line
from emotion.inputs.extraction import Extractor
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.prediction.fitting import absences, check_settings, fitted
from emotion.recipe import Recipe, restore_reading
from emotion.records import Clip, ClipFeatures, Labels
from emotion.telling import printable, tell


class Model(NamedTuple):
    """What predict.py exported."""

    path: Path
    session: Any  # of onnxruntime
    class_names: list[str]
    settings: dict[str, Any]  # what its features are made with, as in features.json
    recipe: Recipe  # what it reads

    @property
    def features(self) -> list[str]:
        """Names of what it reads."""
        return [part.feature for part in self.recipe.parts]


class Unread(NamedTuple):
    """A clip that cannot be answered."""

    name: str
    reasons: list[str]


class Found(NamedTuple):
    """A clip, with what was wrong with its file."""

    name: str
    clip: ClipFeatures
    failures: list[str]


def open_model(path: Path) -> Model:
    """The network, and what its file says of itself.

    Raises:
        UserError: it is none of predict.py's, damaged, or reads features that are not here.
    """
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        raise UserError("requires onnxruntime; pip install -r requirements-onnx.txt") from None
    if not path.is_file():
        raise UserError(f"{path}: no such file; write it by predict.py --weights W --export {path}")
    try:
        session = InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises what its file formats raise
        raise UserError(f"{path}: damaged, or no ONNX model ({first_line(error)[:120]})") from error
    try:
        said = session.get_modelmeta().custom_metadata_map
        names, settings, described = (
            json.loads(said[name]) for name in ("class_names", "features", "recipe")
        )
        model = Model(path, session, list(names), dict(settings), restore_reading(described))
        check_ends(model)
    except UserError as error:
        raise UserError(
            f"{path}: reads features that an extension brings; name its file in the environment: "
            f"{registry.EXTENSIONS}=FILE.py"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: does not say what it reads; give a model that predict.py --export wrote"
        ) from error
    return model


def check_ends(model: Model) -> None:
    """Compare what goes into the network and comes out of it with what is said of it.

    Raises:
        ValueError: they differ.
    """
    known = {"clock_mask", "clock_time"}
    for name in model.recipe.modalities:
        known |= {name, f"{name}_mask", f"{name}_time"}
    wanted = {one.name for one in model.session.get_inputs()}
    if not wanted <= known:
        raise ValueError("it has other inputs")
    if model.session.get_outputs()[0].shape[-1] != len(model.class_names):
        raise ValueError("it has other classes")


def stored(model: Model, folder: Path, split: str, wanted: Sequence[str]) -> Iterator[Found]:
    """The clips of a split, or those that are ``wanted``.

    Raises:
        UserError: there are no such features, or they were made otherwise than the model's.
    """
    store = FeatureStore(folder)
    description = store.read_description()
    if description is None:
        raise UserError(f"{folder}: holds no features; give one that preprocess.py made")
    check_settings(store, description["settings"], model.recipe, model.settings, model.path)
    if split not in store.splits():
        raise UserError(f"{folder}: has no split {split}, only {' '.join(store.splits())}")
    records = store.read_manifest(split)
    known = {record.id for record in records}
    if strangers := [name for name in wanted if name not in known]:
        raise UserError(f"{folder / split}: has no clip {strangers[0]}; give FileIDs of it")
    for record in records:
        if record.id in wanted or not wanted:
            yield Found(record.id, StoredClip(store, split, record), [])


def heard(model: Model, paths: Sequence[Path]) -> Iterator[Found]:
    """Sound files, by the code of preprocess.py.

    Raises:
        UserError: there is no such file, or the model reads more than a sound file says.
    """
    for part in model.recipe.parts:
        made = registry.feature(part.feature)
        if part.kind != registry.SPECTROGRAM or len(model.recipe.parts) > 1:
            raise UserError(
                f"{model.path}: reads {' '.join(model.features)}, which a sound file does not "
                "hold; give --features FOLDER"
            )
        if made.by_speaker(part.reading):
            raise UserError(
                f"{model.path}: reads speech normalised by speaker, and a file does not say whose "
                "it is; give --features FOLDER"
            )
        if reason := made.outdated(model.settings):
            raise UserError(f"{model.path}: {reason}; train it again")
    if missing := [path for path in paths if not path.is_file()]:
        raise UserError(f"{missing[0]}: no such file")
    extractor = Extractor(model.settings, None, features=model.features)
    for path in paths:
        clip = Clip(path.stem, path.stem, path, "input", None, Labels(), None)
        found = extractor.extract(clip)
        yield Found(path.stem, found.clip(clip), [reason for _, reason in found.failures])


def answer(model: Model, readers: Readers, found: Found) -> np.ndarray | Unread:
    """Probabilities (classes,) of one clip; a modality that it lacks is masked."""
    try:
        clip, wrong = fitted(found.clip, model.recipe)
        if not model.recipe.usable(clip.record):
            reasons = [*found.failures, *wrong] or absences(clip.record, model.features)
            return Unread(found.name, reasons)
        every = feed(read_sample(clip, readers))
        fed = {one.name: every[one.name] for one in model.session.get_inputs()}
        return model.session.run(None, fed)[0][0]
    except UserError as error:
        return Unread(found.name, [str(error)])
    except Exception as error:  # whatever a file does to its decoder, the others get their answer
        return Unread(found.name, [f"{type(error).__name__}: {first_line(error)}"])


def feed(sample: Sample) -> dict[str, np.ndarray]:
    """The inputs of the network for one clip, by name."""
    clock = clock_of([sample])
    fed = {"clock_mask": clock.mask, "clock_time": clock.time}
    for name, padded in pad([sample]).items():
        fed |= {name: padded.values, f"{name}_mask": padded.mask, f"{name}_time": padded.time}
    return fed


class Parser(argparse.ArgumentParser):
    """Says a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """What ``run`` prints."""
        raise UserError(f"{message}; see --help")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="what predict.py --export wrote")
    parser.add_argument(
        "clips", nargs="*", default=[], help="sound files; of --features FileIDs, all without"
    )
    parser.add_argument("--features", type=Path, help="folder that preprocess.py made")
    parser.add_argument("--split", default="test", help="of --features (default: %(default)s)")
    return parser.parse_intermixed_args()


def main() -> int:
    """Answer; returns the exit code, 1 where no clip has an answer."""
    options = parse()
    if not options.features and not options.clips:
        raise UserError("nothing to answer: give sound files, or --features FOLDER --split test")
    model = open_model(options.model)
    if options.features:
        clips = list(stored(model, options.features, options.split, options.clips))
        readers = readers_of(model.recipe, FeatureStore(options.features))
    else:
        clips = heard(model, [Path(path) for path in options.clips])
        readers = readers_of(model.recipe)
    count = 0
    for found in tqdm(clips, desc="predict", unit="clip", disable=None):
        given = answer(model, readers, found)
        if isinstance(given, Unread):
            tell(f"warning: {given.name}: {'; '.join(given.reasons)}; it has no answer")
            continue
        best, count = int(given.argmax()), count + 1
        tqdm.write(printable(f"{found.name} {model.class_names[best]} {given[best]:.4f}"))
    return 0 if count else 1


if __name__ == "__main__":
    run(main)
