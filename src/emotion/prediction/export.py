"""``--export model.onnx``: a model of any mode for onnxruntime, checked against torch."""

import io
import json
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from emotion import recipe, registry
from emotion.clock import FRAME_SECONDS, N_MELS, SAMPLE_RATE, STEP_FRAMES, whole_steps
from emotion.data.dataset import collate
from emotion.data.samples import Sample
from emotion.errors import UserError, first_line
from emotion.files import write_atomic
from emotion.inputs.feature import Steps
from emotion.prediction.members import Member
from emotion.recipe import Part
from emotion.records import Batch, Clock, Stream

LARGEST_DIFFERENCE = 1e-4
EXPORTED = (2, 100, 10, 6)  # clips, spectrogram frames, crops, vectors
CHECKED = ((1, 33, 5, 1), (1, 321, 40, 23), (3, 192, 16, 9))
FEWEST_FRAMES = 33  # of spectrograms that are checked: they are all of one length


class Exported(NamedTuple):
    """What was written."""

    path: Path
    inputs: tuple[str, ...]
    difference: float  # largest, of probabilities, over all lengths that were checked


class ExportModel(nn.Module):
    """A member as a function of plain tensors.

    Each modality is its values and its mask, in a fused model its times too, and then the clock
    (``clock_of`` in data/samples.py). Spectrograms may have any length: they are padded inside, as
    in prediction; steps of unequal number are padded and masked by the caller.
    """

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.model = member.model
        self.recipe = member.recipe
        self.temperature = member.temperature
        self.names = input_names(member)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Probabilities (B, classes)."""
        given = dict(zip(self.names, inputs, strict=True))
        streams = {part.modality: self._stream(part, given) for part in self.recipe.parts}
        clock = Clock(given["clock_mask"], given["clock_time"]) if self.recipe.fusion else None
        logits = self.model(Batch(streams, clock))[self.recipe.main_head]
        return torch.softmax(logits / self.temperature, dim=-1)

    def _stream(self, part: Part, given: dict[str, Tensor]) -> Stream:
        values, mask = given[part.modality], given[f"{part.modality}_mask"]
        time = given.get(f"{part.modality}_time")
        time = torch.zeros_like(mask, dtype=torch.float32) if time is None else time
        if part.kind != registry.SPECTROGRAM:
            return Stream(values, mask, time)
        frames = values.shape[1]
        least = whole_steps(part.reading.speech_frames)
        width = torch.sym_max(least, (frames + STEP_FRAMES - 1) // STEP_FRAMES * STEP_FRAMES)
        beyond = width - frames
        pad = nn.functional.pad
        padded = pad(mask.float(), (0, beyond)) > 0.5
        return Stream(pad(values, (0, 0, 0, beyond)), padded, pad(time, (0, beyond)))


def input_names(member: Member) -> tuple[str, ...]:
    """The inputs of the exported model, in order."""
    recipe = member.recipe
    ends = ("", "_mask", "_time") if recipe.fusion else ("", "_mask")
    names = [f"{name}{end}" for name in recipe.modalities for end in ends]
    return (*names, "clock_mask", "clock_time") if recipe.fusion else tuple(names)


def export(member: Member, path: Path) -> Exported:
    """Write the ONNX file and check it at lengths other than those it was exported with.

    Raises:
        UserError: onnx or onnxruntime are not installed, or the answers differ.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--export wants {error.name}; pip install -r requirements-onnx.txt"
        ) from None
    model = ExportModel(member).cpu().eval()
    content = _translate(model, member)
    onnx.helper.set_model_props(content, _metadata(member, model.names))
    coded = content.SerializeToString()
    difference = largest_difference(coded, model, member)
    if not difference <= LARGEST_DIFFERENCE:
        raise UserError(
            f"--export {path}: onnxruntime's answers differ by {difference:.2g}, more than "
            f"{LARGEST_DIFFERENCE:g}; nothing was written"
        )
    write_atomic(path, lambda file: file.write(coded))
    return Exported(path, model.names, difference)


def largest_difference(coded: bytes, model: ExportModel, member: Member) -> float:
    """Between onnxruntime and torch, over batches of several lengths."""
    from onnxruntime import InferenceSession

    session = InferenceSession(coded, providers=["CPUExecutionProvider"])
    largest = 0.0
    for seed, sizes in enumerate(CHECKED):
        inputs = made_up(member, sizes, seed)
        with torch.inference_mode():
            wanted = model(*inputs.values()).numpy()
        found = session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
        largest = max(largest, float(np.abs(found - wanted).max()))
    return largest


def made_up(member: Member, sizes: tuple[int, int, int, int], seed: int) -> dict[str, Tensor]:
    """Inputs of a number of clips, and of steps by kind; some of the last clip's are masked."""
    clips, generator = sizes[0], torch.Generator().manual_seed(seed)
    steps = {part.modality: _steps(part, sizes, generator) for part in member.recipe.parts}
    seconds = sizes[1] * FRAME_SECONDS
    samples = [
        Sample("", (-1, -1, -1), {k: _of_clip(s, row, clips) for k, s in steps.items()}, seconds)
        for row in range(clips)
    ]
    batch = collate(samples).inputs
    every = {"clock_mask": batch.clock.mask, "clock_time": batch.clock.time}
    for name, stream in batch.streams.items():
        every |= {name: stream.values, f"{name}_mask": stream.mask, f"{name}_time": stream.time}
    return {name: every[name] for name in input_names(member)}


def _steps(part: Part, sizes: tuple[int, int, int, int], generator: torch.Generator) -> Tensor:
    """Values (clips, N, ...) of one modality."""
    clips, frames, _, vectors = sizes
    if part.kind == registry.CROPS:
        side = part.reading.face_size
        shape = (clips, part.reading.face_frames, 3, side, side)
        return torch.randint(256, shape, generator=generator).to(torch.uint8)
    count = frames if part.kind == registry.SPECTROGRAM else vectors
    return torch.rand(clips, count, *part.shape, generator=generator)


def _of_clip(values: Tensor, row: int, clips: int) -> Steps:
    """The steps of one clip; half of the last clip's are masked, but for spectrograms' frames."""
    own = values[row].numpy()
    mask = np.ones(len(own), bool)
    if row == clips - 1 and len(own) > 1 and len(own) < FEWEST_FRAMES:
        mask[len(own) // 2 :] = False
    return Steps(own, mask, np.arange(len(own), dtype=np.float32) * np.float32(0.128))


def _translate(model: ExportModel, member: Member) -> Any:
    """The ONNX graph; the exporter's own chatter is left out."""
    inputs = made_up(member, EXPORTED, seed=0)
    # without gradients, or a loop in the graph brings its way back along
    with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                model,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=["probabilities"],
                dynamic_shapes=(_dynamic(inputs, member),),
                dynamo=True,
                custom_translation_table={torch.ops.aten.sym_stride.int: _stride},
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise UserError(
                f"--export: this model cannot be exported ({first_line(error)})"
            ) from error
    return program.model_proto


def _stride(tensor: Any, axis: int) -> Any:
    """Any number: the exporter asks for strides in the body of a loop, makes nothing of them, and
    has no translation. Were one used, the answers would differ, and nothing would be written.
    """
    from onnxscript import opset18

    return opset18.Constant(value_int=1)


def _dynamic(inputs: dict[str, Tensor], member: Member) -> tuple[dict[int, Any], ...]:
    """Which axes vary: clips and steps, but not the number of crops, which the model sets."""
    fixed = {
        f"{part.modality}{end}"
        for part in member.recipe.parts
        if part.kind == registry.CROPS
        for end in ("", "_mask", "_time")
    }
    return tuple({0: Dim.DYNAMIC} | ({} if name in fixed else {1: Dim.DYNAMIC}) for name in inputs)


def _metadata(member: Member, names: tuple[str, ...]) -> dict[str, str]:
    """What it takes to feed the model and read its answers: ``examples/onnx_predict.py``."""
    described = recipe.describe(member.recipe)
    for part in described["parts"]:
        part["kind"] = registry.feature_line(part["feature"]).kind
    content = {
        "mode": member.mode,
        "class_names": list(member.checkpoint.class_names),
        "features": member.checkpoint.features,
        "inputs": list(names),
        "recipe": described,
        "temperature": member.temperature,
        "sample_rate": SAMPLE_RATE,
        "frame_seconds": FRAME_SECONDS,
        "n_mels": N_MELS,
    }
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in content.items()}
