"""What predict.py says on the device against a CPU; resuming; a batch that is too large."""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.gpu.material import engine_of, features_of, in_float32, options_of
from benchmarks.gpu.rows import LeftOut, Section, promise
from emotion.clock import FRAME_SECONDS, N_MELS
from emotion.corpora.qia2020 import EMOTIONS
from emotion.data.dataset import collate
from emotion.data.samples import Sample
from emotion.errors import UserError
from emotion.inputs.extraction import ExtractedClip, Extractor
from emotion.inputs.media import Media
from emotion.inputs.vectors import Vectors
from emotion.inputs.video import MediaInfo
from emotion.models.checkpoint import describe, save_checkpoint
from emotion.paths import HOME
from emotion.prediction.inputs import Item, find_items
from emotion.prediction.members import load_members
from emotion.prediction.predictor import Ensemble
from emotion.prediction.recording import Recording, Span, WindowReader, spans_of
from emotion.prediction.run import predict
from emotion.records import Clip, ClipFeatures, Labels
from emotion.training import loop
from emotion.training.run import train
from tests.features import face_track
from tests.model_batches import settle
from tests.prediction import answers_of
from tests.prediction import options_of as predict_options
from tests.training.runs import metrics_of

SAME = 1e-3  # of probabilities and scores, device and CPU
SAME_RUN = 1e-2  # of losses, two runs on a GPU: sums there have no fixed order
KINDS = {  # models that answer, by name
    "text": {"mode": "text"},
    "face attention_lstm": {"mode": "face", "face_model": "attention_lstm"},
    "face resnet3d": {"mode": "face", "face_model": "resnet3d", "face_size": 32},
    "speech": {"mode": "speech"},
    "multimodal": {"mode": "multimodal", "face_model": "attention_lstm"},
}
EXPORTED = ("speech", "text")  # tests/test_export_modes.py has all, on a CPU
LONG = 12.0  # seconds of the recording that a timeline is made of


def run(section: Section) -> None:
    """Answers, a timeline, exports, an interrupted run, and memory that does not suffice."""
    names = list(KINDS) if section.sizes.every_variant else ["text", "speech"]
    for name in names:
        section.row(f"predict {name}", partial(same_answers, section, name))
    section.row("timeline", partial(same_timeline, section))
    section.row("little memory free", partial(too_large, section, ballast))
    given = partial(too_large, section, fraction, str(section.sizes.batch))
    section.row("a micro-batch that runs out of memory", given)
    for mode in ("speech",) if section.sizes.every_variant else ("face",):
        section.row(f"resume {mode}", partial(resumed, section, mode))
    for name in EXPORTED[: section.sizes.exports]:
        section.row(f"export {name}", partial(same_export, section, name))


def weights_of(section: Section, name: str) -> Path:
    """A checkpoint with drawn weights, large enough to tell clips apart."""
    path = section.scratch / "weights" / name.replace(" ", "_") / "3_best_1.0000.pth"
    if path.exists():
        return path
    few = {"batch_size": 7, "num_workers": 0, "micro_batch": "7", "device": "cpu"}
    options = options_of(section, **few, **KINDS[name])
    task, loaders, engine = engine_of(options, torch.device("cpu"))
    with torch.no_grad():
        for module in engine.model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(3.0)
    model = settle(engine.model, next(iter(loaders.train)).inputs)
    content = describe(
        model, task.recipe, task.class_names, task.feature_settings, epoch=3, metrics={}
    )
    save_checkpoint(path, content)
    return path


def same_answers(section: Section, name: str) -> dict[str, Any]:
    """Probabilities of a split of features, through predict.py's own code."""
    weights = weights_of(section, name)
    flags = {"features_dir": str(features_of(section)), "split": "test", "probabilities": True}
    found = probabilities(section, weights, **flags, device=section.device.type)
    wanted = probabilities(section, weights, **flags, device="cpu")
    difference = float(np.abs(found - wanted).max())
    spread = float(np.ptp(wanted, axis=0).max())
    figures = {"clips": len(found), "difference": difference, "spread": spread}
    good = difference <= SAME < spread  # answers that are all alike would show nothing
    return promise(good, f"answers differ by {difference:.2g}, clips by {spread:.2g}", figures)


def probabilities(section: Section, weights: Path, **flags: Any) -> np.ndarray:
    """(clips, classes) of the CSV that predict.py writes."""
    with contextlib.redirect_stdout(io.StringIO()):
        rows = answers_of(weights, section.scratch, **flags)
    return np.array([[float(row[name]) for name in EMOTIONS] for row in rows])


class Long(NamedTuple):
    """A recording whose spectrogram is there already: no sound is transformed."""

    recording: Recording  # its faces
    log_mel: np.ndarray  # float16 (128, T)

    def window(self, span: Span) -> ClipFeatures:
        """Faces as a recording cuts them, and the spectrogram of the same time."""
        clip = self.recording.window(span)
        first, last = round(span.start / FRAME_SECONDS), round(span.end / FRAME_SECONDS)
        speech = self.log_mel[:, first:last]
        states = clip.record.states | {"speech": "ok"}
        facts = clip.record.facts | {"start": 0.0, "frames": speech.shape[1]}
        record = clip.record._replace(states=states, facts=facts)
        return ExtractedClip(record, clip.values | {"speech": speech})


class Silent(Media):
    """A film without a sound, of so many seconds, that nobody has to open."""

    info = MediaInfo(LONG, False, True)
    duration = LONG


def same_timeline(section: Section) -> dict[str, Any]:
    """Answers to the windows of a long recording, as ``--timeline`` asks for them."""
    weights = weights_of(section, "multimodal")
    with in_float32():  # as predict.py sets it
        found, wanted = (windows(weights, device) for device in (section.device.type, "cpu"))
    difference = float(np.abs(found - wanted).max())
    figures = {"windows": len(found), "difference": difference}
    return promise(difference <= SAME, f"windows differ by {difference:.2g}", figures)


def windows(weights: Path, device: str) -> np.ndarray:
    """(windows, classes) of a recording of ``LONG`` seconds."""
    members = load_members([str(weights)], torch.device(device))
    predictor = Ensemble(members, torch.device(device))
    rng = np.random.default_rng(0)
    frames = round(LONG / FRAME_SECONDS)
    track = face_track(2, frames, 1.0, rng)
    embedding = rng.standard_normal((len(track.time), 512)).astype(np.float16) / 20
    clip = Clip("long", "long", Path("long.mp4"), "test", None, Labels(), None)
    (reading,) = predictor.readings
    extractor = Extractor(json.loads(reading.settings), None, features=reading.features)
    values = {"video": track, "embedding": Vectors(embedding, track.time, track.found)}
    faces = Recording(Silent(clip), values, extractor)
    long = Long(faces, rng.random((N_MELS, frames), np.float32).astype(np.float16))
    item = Item(clip)
    spans = spans_of(LONG, 4.0, 1.0)
    reader = WindowReader(predictor.reader([item]), {reading.settings: long}, spans)
    read = [reader[row] for row in range(len(spans))]
    answered = predictor.answer_batch(read, reader.items)
    return np.stack([answer.probabilities for answer in answered])


def same_export(section: Section, name: str) -> dict[str, Any]:
    """Onnxruntime's answer to each clip of a split against the device's."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise LeftOut(f"there is no {error.name}") from None
    weights, path = weights_of(section, name), section.scratch / f"{name}.onnx".replace(" ", "_")
    options = predict_options(
        weights, section.scratch, export=str(path), device=section.device.type
    )
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            predict(options)
        except UserError as error:
            if version("torch") in (HOME / "constraints.txt").read_text():
                raise
            raise LeftOut(f"torch {version('torch')} is not the tested one: {error}") from None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    difference = session_difference(section, weights, session)
    figures = {"difference": difference, "said": said.getvalue().strip().split("; ")[-1]}
    return promise(difference <= SAME, f"onnxruntime differs by {difference:.2g}", figures)


def session_difference(section: Section, weights: Path, session: Any) -> float:
    """The largest difference of probabilities between a session and the model on the device."""
    members = load_members([str(weights)], section.device)
    items = find_items([], "test", str(features_of(section)), members)
    predictor = Ensemble(members, section.device)
    reader = predictor.reader(items)
    read = [reader[row] for row in range(len(items))]
    with in_float32():
        answered = predictor.answer_batch(read, items)
    names = [one.name for one in session.get_inputs()]
    differences = []
    for prepared, answer in zip(read, answered, strict=True):
        every = feed(prepared.samples[0][0])
        fed = {name: every[name] for name in names}
        said = session.run(None, fed)[0][0]
        differences.append(float(np.abs(said - answer.probabilities).max()))
    return max(differences)


def feed(sample: Sample) -> dict[str, np.ndarray]:
    """One clip's inputs by name, with an axis of clips."""
    fed = {}
    for name, stream in collate([sample]).inputs.streams.items():
        fed |= {name: stream.values.numpy(), f"{name}_mask": stream.mask.numpy()}
    return fed


def resumed(section: Section, mode: str) -> dict[str, Any]:
    """Two epochs at once, and two with a stop in the second: scores of both runs."""
    sizes = section.sizes
    flags = {"n_epoch": 2, "batch_size": min(sizes.batch, sizes.clips // 4), "num_workers": 0}
    whole = section.scratch / "logs" / mode / "whole"
    again = section.scratch / "logs" / mode / "again"
    for folder in (whole, again):
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()):
        train(options_of(section, mode, exp_name="whole", **flags))
        stop_in_second_epoch(section, mode, flags)
        epochs = len(metrics_of(again))
        train(options_of(section, mode, exp_name="again", resume=True, **flags))
    pair = metrics_of(whole), metrics_of(again)
    differences = {
        kind: max(abs(a - b) for a, b in zip(*(numbers(rows, kind) for rows in pair), strict=True))
        for kind in ("loss", "acc")
    }
    difference = differences["loss"]
    figures = {"epochs before the stop": epochs}
    figures |= {f"{kind} differs": value for kind, value in differences.items()}
    good = epochs == 1 and difference <= (SAME_RUN if section.on_gpu else 0.0)
    return promise(good, f"losses differ by {difference:.2g} after resuming", figures)


def stop_in_second_epoch(section: Section, mode: str, flags: dict[str, Any]) -> None:
    """A run that Ctrl-C reaches in the second epoch's second step."""
    options = options_of(section, mode, exp_name="again", **flags)
    steps = -(-section.sizes.clips // options.batch_size)
    real, calls = loop.update_weights, iter(range(10**6))

    def update(engine: loop.Engine) -> None:
        if next(calls) == steps + 1:
            raise KeyboardInterrupt
        real(engine)

    loop.update_weights = update
    try:
        train(options)
    except KeyboardInterrupt:
        return
    finally:
        loop.update_weights = real
    raise RuntimeError("the run was not stopped")


def numbers(rows: Sequence[dict[str, str]], kind: str) -> list[float]:
    """The figures of metrics.csv whose column ends so."""
    return [float(value) for row in rows for name, value in row.items() if name.endswith(kind)]


@contextlib.contextmanager
def ballast(left: int) -> Iterator[None]:
    """So many bytes are left on the device, as where others use it too."""
    torch.cuda.empty_cache()
    held = torch.empty(torch.cuda.mem_get_info()[0] - left, dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del held
        torch.cuda.empty_cache()


@contextlib.contextmanager
def fraction(left: int) -> Iterator[None]:
    """This process may have so many bytes more, whatever is free."""
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + left) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


LEFT_BYTES = 4 * 10**9  # a batch of 128 wants several times as much


def too_large(section: Section, limit: Any, micro_batch: str = "auto") -> dict[str, Any]:
    """A batch that does not fit is run in parts, with a line, and the run comes to its end."""
    if not section.on_gpu:
        raise LeftOut("it limits the device's memory; tests/training has the CPU's")
    sizes = section.sizes
    flags = {"coeff": sizes.coeff, "batch_size": sizes.batch}
    wanted = engine_of(options_of(section, "speech", **flags), section.device)[2].micro_batch
    section.clean_up()
    said = io.StringIO()
    flags["micro_batch"] = micro_batch
    shutil.rmtree(section.scratch / "logs" / "speech" / limit.__name__, ignore_errors=True)
    options = options_of(section, "speech", exp_name=limit.__name__, **flags)
    unsaid = contextlib.redirect_stdout(io.StringIO())
    with limit(LEFT_BYTES), contextlib.redirect_stderr(said), unsaid:
        code = train(options)
    lines = [line for line in said.getvalue().splitlines() if "--micro_batch" in line]
    figures = {"exit code": code, "fits without": wanted, "said": lines}
    return promise(code == 0 and bool(lines), f"no line about --micro_batch: {lines}", figures)
