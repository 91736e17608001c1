"""A speech model without torch: ``python examples/onnx_predict.py model.onnx CLIP [CLIP ...]``.

``model.onnx`` is what ``python predict.py --weights W --export model.onnx`` wrote.
"""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from emotion.inputs.audio import extract_speech
from emotion.inputs.video import MediaError, read_waveform


def read_metadata(session: InferenceSession) -> dict:
    """What predict.py wrote beside the model: settings of its features, class names, options.

    Raises:
        ValueError: it is none of predict.py's, or reads what a file alone does not tell.
    """
    found = session.get_modelmeta().custom_metadata_map
    try:
        metadata = {n: json.loads(found[n]) for n in ("features", "class_names", "recipe")}
        (part,) = metadata["recipe"]["parts"]
        by_speaker = part["reading"]["normalise"] != "none"
    except (KeyError, TypeError, ValueError):
        raise ValueError("is no speech model of predict.py --export") from None
    if by_speaker:
        raise ValueError("wants a voice of a known speaker, which this example does not give")
    return metadata


def answer(session: InferenceSession, metadata: dict, path: Path) -> str:
    """The likeliest emotion of one clip and its probability, or why there is none."""
    try:
        waveform = read_waveform(path)
    except (MediaError, IndexError):
        return "has no sound that can be read"
    speech = extract_speech(waveform)
    if speech is None:
        return "has no voice in it"
    log_mel = speech.log_mel.T.astype(np.float32)[None]  # (1, frames, 128)
    fed = {"speech": log_mel, "speech_mask": np.ones(log_mel.shape[:2], bool)}
    probabilities = session.run(None, fed)[0][0]
    best = int(probabilities.argmax())
    return f"{metadata['class_names'][best]} {probabilities[best]:.4f}"


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    model = InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    try:
        described = read_metadata(model)
    except ValueError as error:
        sys.exit(f"error: {sys.argv[1]}: {error}")
    for clip in map(Path, sys.argv[2:]):
        print(clip.stem, answer(model, described, clip))
