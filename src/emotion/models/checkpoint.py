"""Checkpoints: plain tensors and values; they load with ``weights_only`` and rebuild a model."""

import io
import re
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emotion import recipe, registry
from emotion.corpora.loading import people_of
from emotion.data.examples import named
from emotion.errors import UserError
from emotion.files import write_atomic
from emotion.models.met import Met, read_met
from emotion.networks.model import build_model
from emotion.recipe import Recipe

FORMAT = 3
KEPT = 3  # best checkpoints of a run
SWEPT_RUN = re.compile(r"^(?:(?:fold|valid_fold|seed)_\d+(?:_|$))+$")  # a run of an experiment
REFIT = "refit"  # folder in that of a run, and key in its result.json
BEST = re.compile(r"^(\d+)_best_(\d+\.\d+|nan|inf)\.pth$")
ABOUT = ("corpus", "class_names", "notice")  # of features, beside the settings they are made with
PUBLISHED = "model.pth"  # in a folder of weights/
KEYS = {"format", "mode", "class_names", "features", "recipe", "model", "epoch", "metrics"}


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and what it was trained on."""

    path: Path
    mode: str
    class_names: tuple[str, ...]
    features: dict[str, Any]  # corpus and extraction settings, as in features.json
    recipe: Recipe
    model: dict[str, Tensor]
    epoch: int
    metrics: dict[str, float]
    met: Met | None  # whom and what it was trained on; an earlier version does not say
    training: dict[str, Any] | None  # what it takes to go on: only in last.pth

    def build(self) -> nn.Module:
        """The model with its weights, in evaluation mode."""
        model = build_model(self.recipe)
        model.load_state_dict(self.model)
        return model.eval()

    def people(self, corpus: str) -> str:
        """What the speakers of a corpus stand behind in ``met``; nothing where it is the model's
        own, or one of the same people.
        """
        people = people_of(corpus)
        return "" if people == people_of(self.features.get("corpus", "")) else people

    def trained_on(self, speakers: Sequence[str], corpus: str) -> set[str]:
        """Those of a corpus's speakers that the model was trained on, as far as it says."""
        known = self.met.speakers if self.met else frozenset()
        people = self.people(corpus)
        return {speaker for speaker in speakers if named(people, speaker) in known}


def save_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write atomically; see ``describe`` for what belongs in ``checkpoint``."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))


def describe(
    model: nn.Module,
    made: Recipe,
    class_names: Sequence[str],
    features: dict[str, Any],
    *,
    epoch: int,
    metrics: dict[str, float],
    met: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What every checkpoint holds, as plain values; ``model`` is not wrapped."""
    return {
        "format": FORMAT,
        "mode": made.mode,
        "class_names": list(class_names),
        "features": features,
        "recipe": recipe.describe(made),
        "extensions": registry.extensions(),
        "model": model.state_dict(),
        "epoch": epoch,
        "metrics": metrics,
        "met": met,
    }


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; no code in the file is ever run.

    Raises:
        UserError: it is none of this program's, damaged, or of another version.
    """
    try:
        _check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on pickles that it then refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or not content.keys() >= KEYS - {"recipe"}:
            raise UserError(
                f"{path}: not a checkpoint of this program; give one that train.py made"
            )
        if content["format"] != FORMAT:
            raise UserError(
                f"{path}: of format {content['format']}, this program reads {FORMAT}; train it "
                "again, or answer with the version that made it"
            )
        return Checkpoint(
            path=path,
            mode=content["mode"],
            class_names=tuple(content["class_names"]),
            features=content["features"],
            recipe=recipe.restore(content["recipe"]),
            model=content["model"],
            epoch=content["epoch"],
            metrics=content["metrics"],
            met=read_met(content["met"]) if content.get("met") else None,
            training=content.get("training"),
        )
    except UserError as error:
        if str(error).startswith(str(path)):
            raise
        raise UserError(f"{path}: {error}") from error  # it wants what is not here
    except Exception as error:  # the unpickler raises what its input drives it to
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise UserError(
            f"{path}: not readable as a checkpoint ({reason}); give one that train.py made"
        ) from error


def _check_sums(path: Path) -> None:
    """Refuse a file with a damaged part: torch would load weights that a disk has zeroed."""
    with zipfile.ZipFile(path) as archive:
        if broken := archive.testzip():
            raise ValueError(f"{Path(broken).name} is not what was written")


def find_checkpoint(
    flag: str, given: str, logs: Path, modes: Sequence[str], members: Sequence[str] = ()
) -> Path:
    """The file itself, or the best one of a run folder; where the folder holds several runs, that
    of the first of ``members`` that is there, such as fold_1.

    Raises:
        UserError: there is none; the line names ``flag`` and what there is in its place.
    """
    path = Path(given)
    if path.is_file():
        return path
    for folder in (*(path / member for member in members), path):
        best = best_checkpoint(folder)
        if best is not None:
            return best
    if several := [best.parent.name for best in _best_below(path)]:
        raise UserError(f"{flag} {given}: holds the runs {', '.join(several)}; name one")
    known = [str(best) for mode in modes for best in _best_below(logs / mode)]
    train = modes[0] if len(modes) == 1 else "..."
    mend = f"there are {', '.join(known)}" if known else f"train one: train.py --mode {train}"
    raise UserError(f"{flag} {given}: no such checkpoint or run folder; {mend}")


def find_checkpoints(flag: str, given: str, logs: Path, modes: Sequence[str]) -> list[Path]:
    """As ``find_checkpoint``; of an experiment (every fold, several seeds) the best of each run.

    Raises:
        UserError: there is none.
    """
    path = Path(given)
    runs = _best_below(path) if path.is_dir() and best_checkpoint(path) is None else []
    swept = [best for best in runs if SWEPT_RUN.match(best.parent.name)]
    if swept and len(swept) == len(runs):
        return swept
    return [find_checkpoint(flag, given, logs, modes)]


def _best_below(folder: Path) -> list[Path]:
    """The best checkpoint of each run in a folder of runs."""
    found = (best_checkpoint(run) for run in sorted(folder.glob("*")))
    return [best for best in found if best is not None]


def best_checkpoint(folder: Path) -> Path | None:
    """The ``<epoch>_best_<loss>.pth`` of the latest epoch: it is written only when it is better.
    Of a published model, its one file.
    """
    found = [(int(m[1]), p) for p in folder.glob("*_best_*.pth") if (m := BEST.match(p.name))]
    published = folder / PUBLISHED
    if not found and published.is_file():
        return published
    return max(found)[1] if found else None


def prune(folder: Path) -> None:
    """Remove all but the newest best checkpoints."""
    found = sorted((int(m[1]), p) for p in folder.glob("*_best_*.pth") if (m := BEST.match(p.name)))
    for _, path in found[:-KEPT]:
        path.unlink()
