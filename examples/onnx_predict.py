"""A speech model without torch: ``python examples/onnx_predict.py model.onnx CLIP [CLIP ...]``.

``model.onnx`` is what ``python predict.py --weights W --export model.onnx`` wrote.
"""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.preprocessing.audio import extract_speech
from src.preprocessing.video import MediaError, read_waveform


def answer(session: InferenceSession, path: Path) -> str:
    """The likeliest emotion of one clip and its probability, or why there is none."""
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        waveform = read_waveform(path)
    except (MediaError, IndexError):
        return "has no sound that can be read"
    speech = extract_speech(waveform, json.loads(metadata["features"])["denoise"])
    if speech is None:
        return "has no voice in it"
    log_mel = speech.log_mel.astype(np.float32)[None]  # (1, 128, frames)
    probabilities = session.run(None, {"speech": log_mel})[0][0]
    best = int(probabilities.argmax())
    return f"{json.loads(metadata['class_names'])[best]} {probabilities[best]:.4f}"


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    model = InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    if (
        json.loads(model.get_modelmeta().custom_metadata_map["model_options"])["speech_norm"]
        != "none"
    ):
        sys.exit(
            f"{sys.argv[1]}: reads speech normalised by speaker, which a file alone does not tell"
        )
    for clip in map(Path, sys.argv[2:]):
        print(clip.stem, answer(model, clip))
