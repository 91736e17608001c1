"""Any network in an ONNX file that takes pictures and gives vectors (``requirements-onnx.txt``).

Nothing of the file is run but the operations of ONNX. Pictures go through it one at a time, on one
thread: that was quicker than batches, and no vector depends on its neighbours.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emotion.clock import CROP_SIZE
from emotion.errors import UserError, first_line
from emotion.frozen.face_network import FLAG, MOST_PIXELS, SOME, as_stored, resized
from emotion.lazy import optional

SCALES = {  # of red, green, blue from 0 to 255: what is taken away, what the rest is divided by
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "raw": ((0.0,), (1.0,)),
    "unit": ((0.0,), (255.0,)),
    "signed": ((127.5,), (127.5,)),
}
BGR = "_bgr"  # after the name of a scale: blue comes first
GREY = np.array([[0.299], [0.587], [0.114]], np.float32)
RANGES = {  # ONNX's own metadata of images: Image.NominalPixelRange
    "NominalRange_0_255": "raw",
    "Normalized_0_1": "unit",
    "Normalized_1_1": "signed",
}
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
MOVES = ("Cast", "Identity", "Transpose")  # operations that leave values as they are
ARITHMETIC = ("Sub", "Add", "Mul", "Div", "BatchNormalization")
NAMED = ("embedding", "features")  # outputs that are taken before others
PENULTIMATE = "penultimate"  # what the last linear layer reads
LINEAR = ("Gemm", "MatMul")


class Input(NamedTuple):
    """The pictures that a network takes."""

    name: str
    type: type
    batch: int  # at once
    height: int
    width: int
    colours: int
    last: bool  # whether the colours of a pixel lie side by side


class FaceOnnx:
    """Crops in, vectors out."""

    def __init__(self, source: str, output: str = "", scale: str = "auto") -> None:
        """Load the network, and show it a picture.

        Args:
            source: its file.
            output: what is kept: an output, any tensor inside, or ``penultimate``. Without, the
                output called embedding or features, else the first that is a vector a picture.
            scale: of ``SCALES``, with ``_bgr`` where blue comes first. ``auto``: what its metadata
                say; raw where it begins with arithmetic, as it scales by itself; else imagenet.

        Raises:
            UserError: no onnxruntime, no such file, or no such network.
        """
        self.source = source
        model = _load(source)
        self.fingerprint = hashlib.sha256(model.SerializeToString()).hexdigest()[:16]
        output = _reveal(source, model, output)
        self.session = _session(source, model)
        self.input = self._read_input()
        self.scale = self._read_scale(model) if scale == "auto" else scale
        if self.input.type is np.uint8 and not self.scale.startswith("raw"):
            raise UserError(f"{FLAG} {source}:{scale}: it takes whole numbers; give raw")
        self.output = self._choose(output)

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """uint8 (F, 160, 160, 3) RGB to float16 (F, D).

        Raises:
            ValueError: the network gives no numbers.
        """
        vectors = [self._run(crop, [self.output])[0].reshape(-1) for crop in crops]
        return as_stored(np.stack(vectors))

    def _run(self, crop: np.ndarray, outputs: list[str] | None = None) -> list[np.ndarray]:
        """What it makes of one crop; where it wants several at once, of the first of as many."""
        pixels = np.repeat(self._pixels(crop)[None], self.input.batch, axis=0)
        return [answer[:1] for answer in self.session.run(outputs, {self.input.name: pixels})]

    def _pixels(self, crop: np.ndarray) -> np.ndarray:
        wanted = self.input
        less, over = (np.array(n, np.float32) for n in SCALES[self.scale.removesuffix(BGR)])
        pixels = (resized(crop, wanted.height, wanted.width) - less) / over
        if wanted.colours == 1:
            pixels = pixels @ GREY
        elif self.scale.endswith(BGR):
            pixels = pixels[..., ::-1]
        pixels = pixels if wanted.last else pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels, wanted.type)

    # -- what the file says ------------------------------------------------------------------------

    def _read_input(self) -> Input:
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in TYPES or len(inputs[0].shape) != 4:
            told = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise self._useless(f"its inputs are {told or 'none'}")
        (one,) = inputs
        shape = [n if isinstance(n, int) and n > 0 else None for n in one.shape]
        last = shape[3] in (1, 3) and shape[1] not in (1, 3)
        batch, *sides = [shape[axis] for axis in ((0, 1, 2, 3) if last else (0, 2, 3, 1))]
        height, width, colours = sides[0] or CROP_SIZE, sides[1] or CROP_SIZE, sides[2] or 3
        if colours not in (1, 3) or (batch or 1) * height * width > MOST_PIXELS:
            raise self._useless(f"its input is {one.shape}")
        return Input(one.name, TYPES[one.type], batch or 1, height, width, colours, last)

    def _read_scale(self, model: Any) -> str:
        known = {entry.key: entry.value for entry in model.metadata_props}
        colours = BGR if known.get("Image.BitmapPixelFormat", "").startswith("Bgr") else ""
        itself = self.input.type is np.uint8 or _first(model, self.input.name) in ARITHMETIC
        guess = "raw" if itself else "imagenet"
        return RANGES.get(known.get("Image.NominalPixelRange", ""), guess) + colours

    def _choose(self, output: str) -> str:
        """The output that is kept, by what they all are of some picture."""
        names = [one.name for one in self.session.get_outputs()]
        try:
            answers = dict(zip(names, self._run(SOME[0]), strict=True))
            vectors = {name: answer for name, answer in answers.items() if _is_vector(answer)}
            for answer in vectors.values():
                as_stored(answer)
        except Exception as error:  # of the runtime, or of a network that gives no numbers
            raise self._useless(f"fails on a picture ({first_line(error)})") from error
        if output and output not in vectors:
            raise self._useless(f"the output {output} is {_shape(answers[output])}")
        if not vectors:
            told = ", ".join(f"{name} {_shape(answer)}" for name, answer in answers.items())
            raise self._useless(f"its outputs are {told}")
        return output or next((name for name in NAMED if name in vectors), next(iter(vectors)))

    def _useless(self, reason: str) -> UserError:
        return UserError(
            f"{FLAG} {self.source}: {reason}; give a network that makes a vector of each picture, "
            "(N, 3, H, W) or (N, H, W, 3)"
        )


def _package(name: str, source: str) -> Any:
    return optional(name, f"{FLAG} {source}", "requirements-onnx.txt")


def _load(source: str) -> Any:
    """The network of a file, with weights that lie beside it."""
    if not Path(source).is_file():
        raise UserError(f"{FLAG} {source}: no such file")
    try:
        return _package("onnx", source).load(source)
    except UserError:
        raise
    except Exception as error:  # the library raises what its file format raises
        raise _no_network(source, error) from error


def _session(source: str, model: Any) -> Any:
    runtime = _package("onnxruntime", source)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    content = model.SerializeToString()
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see above
        raise _no_network(source, error) from error


def _no_network(source: str, error: Exception) -> UserError:
    return UserError(f"{FLAG} {source}: not an ONNX network ({first_line(error)}); give another")


def _reveal(source: str, model: Any, output: str) -> str:
    """Make any tensor of a network one of its outputs; returns its name."""
    nodes, there = model.graph.node, [one.name for one in model.graph.output]
    if output == PENULTIMATE and output not in there:
        output = next((n.input[0] for n in reversed(nodes) if n.op_type in LINEAR), output)
    if output and output not in there:
        if not any(output in node.output for node in nodes):
            raise UserError(
                f"{FLAG} {source}:{output}: it makes nothing of that name; its outputs are "
                f"{' '.join(there)}"
            )
        model.graph.output.add(name=output)
    return output


def _first(model: Any, name: str) -> str:
    """The first operation on the pictures that changes their values."""
    passed = {name}
    for node in model.graph.node:  # each after those whose results it takes
        if passed.intersection(node.input):
            if node.op_type not in MOVES:
                return node.op_type
            passed.update(node.output)
    return ""


def _is_vector(answer: Any) -> bool:
    """Whether an answer (1, D), or (1, D, 1, 1), is a vector of numbers."""
    numbers = isinstance(answer, np.ndarray) and answer.dtype.kind == "f" and answer.ndim > 1
    return numbers and answer.shape[0] == 1 and answer.size == max(answer.shape)


def _shape(answer: Any) -> str:
    return f"{answer.dtype} {answer.shape}" if isinstance(answer, np.ndarray) else "no array"
