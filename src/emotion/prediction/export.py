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

from emotion.data.transforms import STRIDE
from emotion.errors import UserError, first_line
from emotion.files import write_atomic
from emotion.inputs.audio import FRAME_SECONDS, N_MELS, SAMPLE_RATE
from emotion.inputs.face_track import EMBEDDING_SIZE
from emotion.prediction.members import Member
from emotion.records import Batch

LARGEST_DIFFERENCE = 1e-4
EXPORTED = (2, 100, 10, 6)  # clips, mel frames, face frames, words
CHECKED = ((1, 33, 5, 1), (1, 321, 40, 23), (3, 192, 16, 9))


class Exported(NamedTuple):
    """What was written."""

    path: Path
    inputs: tuple[str, ...]
    difference: float  # largest, of probabilities, over all lengths that were checked


class ExportModel(nn.Module):
    """A member as a function of plain tensors: their names are those of ``Batch``.

    Spectrograms may have any length, the same for all clips of a batch: they are padded inside, as
    in prediction. Faces and words of unequal number are padded and masked by the caller.
    """

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.model = member.model
        self.head = member.head
        self.temperature = member.temperature
        self.names = input_names(member)
        self.least = -(-member.inputs.speech_frames // STRIDE) * STRIDE

    def forward(self, *inputs: Tensor) -> Tensor:
        """Probabilities (B, classes)."""
        given = dict(zip(self.names, inputs, strict=True))
        if "speech" in given:
            given |= self._padded(given["speech"])
        logits = self.model(Batch(**given))[self.head]
        return torch.softmax(logits / self.temperature, dim=-1)

    def _padded(self, speech: Tensor) -> dict[str, Tensor]:
        """The spectrogram at the width that the network runs at, and its own length."""
        frames = speech.shape[2]
        width = torch.sym_max(self.least, (frames + STRIDE - 1) // STRIDE * STRIDE)
        padded = nn.functional.pad(speech, (0, width - frames))
        length = torch.ones_like(speech[:, 0, 0], dtype=torch.int64) * frames
        return {"speech": padded, "speech_frames": length}


def input_names(member: Member) -> tuple[str, ...]:
    """The inputs of the exported model, in order."""
    fused = member.mode == "multimodal"
    names = []
    if member.inputs.speech:
        names += ["speech", "speech_present"] if fused else ["speech"]
    if member.inputs.face:
        names += ["face", "face_mask", "face_time"] if fused else ["face", "face_mask"]
    if member.inputs.text:
        names += ["text", "text_mask"]
    return tuple(names)


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
    """Inputs of given numbers of clips, mel frames, face frames and words; some steps masked."""
    clips, frames, faces, words = sizes
    inputs, generator = member.inputs, torch.Generator().manual_seed(seed)
    faces = inputs.face_frames if inputs.face == "video" else faces
    face_mask, text_mask = (torch.ones(clips, count, dtype=torch.bool) for count in (faces, words))
    face_mask[-1, faces // 2 :] = faces == 1
    text_mask[-1, -1] = words == 1
    side = inputs.face_size
    crops = torch.randint(256, (clips, faces, 3, side, side), generator=generator)
    vectors = torch.randn(clips, faces, EMBEDDING_SIZE, generator=generator)
    every = {
        "speech": torch.rand(clips, N_MELS, frames, generator=generator),
        "speech_present": torch.ones(clips, dtype=torch.bool),
        "face": crops.to(torch.uint8) if inputs.face == "video" else vectors,
        "face_mask": face_mask,
        "face_time": (torch.arange(faces) * 0.128).expand(clips, -1).contiguous(),
        "text": torch.randn(clips, words, inputs.text_dim, generator=generator),
        "text_mask": text_mask,
    }
    return {name: every[name] for name in input_names(member)}


def _translate(model: ExportModel, member: Member) -> Any:
    """The ONNX graph; the exporter's own chatter is left out."""
    inputs = made_up(member, EXPORTED, seed=0)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
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
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise UserError(
                f"--export: this model cannot be exported ({first_line(error)})"
            ) from error
    return program.model_proto


def _dynamic(inputs: dict[str, Tensor], member: Member) -> tuple[dict[int, Any], ...]:
    """Which axes vary: clips and steps, but not the number of crops, which the model sets."""
    fixed = ("face", "face_mask", "face_time") if member.inputs.face == "video" else ()
    return tuple(
        {0: Dim.DYNAMIC} | ({} if name in fixed or value.ndim < 2 else {_steps(name): Dim.DYNAMIC})
        for name, value in inputs.items()
    )


def _steps(name: str) -> int:
    return 2 if name == "speech" else 1


def _metadata(member: Member, names: tuple[str, ...]) -> dict[str, str]:
    """What it takes to feed the model and read its answers."""
    content = {
        "mode": member.mode,
        "class_names": list(member.checkpoint.class_names),
        "features": member.checkpoint.features,
        "inputs": list(names),
        "model_options": vars(member.checkpoint.options),
        "temperature": member.temperature,
        "sample_rate": SAMPLE_RATE,
        "frame_seconds": FRAME_SECONDS,
        "n_mels": N_MELS,
    }
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in content.items()}
