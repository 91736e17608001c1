"""What every mode answers after three steps, from seeds: written down once, compared from then on.

    python -m tests.golden_runs FILE.json    # exact numbers: two files of one machine are equal
                                             # where nothing has changed, bit for bit

Everything goes through the flags of train.py and the files that it writes, and through
preprocess.py, so that the inside may move as it likes.
"""

import csv
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from emotion.inputs.store import FeatureStore, StoredClip
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.run import preprocess
from emotion.training.options import TrainOptions
from emotion.training.run import train
from tests.features import make_features
from tests.media import face_frame, noise, tone, write_clip

STORED = Path(__file__).parent / "golden" / "runs.json"
FUSED = {"coeff": 0, "batch_size": 4}
CROPS = {"face_model": "resnet3d", "face_size": 32}
RUNS = {
    "speech B0": {"mode": "speech", "coeff": 0},
    "speech small": {
        "mode": "speech", "speech_model": "efficientnet_small",
        "vtlp": 0.1,
    },
    "speech by speaker": {
        "mode": "speech", "speech_model": "efficientnet_small",
        "normalise": "speaker",
    },
    "text": {"mode": "text"},
    "text mlstm_fcn": {"mode": "text", "text_model": "mlstm_fcn"},
    "face": {"mode": "face", "face_model": "attention_lstm"},
    "face mlstm_fcn": {"mode": "face", "face_model": "mlstm_fcn"},
    "face resnet3d": {"mode": "face", **CROPS},
    "fused aligned": {"mode": "multimodal", **FUSED, "lam": 0.5},
    "fused decoder": {"mode": "multimodal", **FUSED, "fusion": "decoder"},
    "fused concat": {"mode": "multimodal", **FUSED, "fusion": "concat", **CROPS},
}  # fmt: skip


def golden_run(name: str, folder: Path) -> dict:
    """Losses after three steps, and the answers to the validation clips."""
    features = folder / "features"
    if not features.is_dir():
        made = {"clips": {"train": 12, "val": 6}, "absent": {"text": {1}, "embedding": {2}}}
        make_features(features, speakers=3, n_classes=3, text_dim=12, **made)
    settings = {
        "exp_name": name.replace(" ", "_"), "features_dir": str(features), "n_epoch": 1,
        "logs_dir": str(folder / "logs"), "batch_size": 4, "num_workers": 0,
        "pretrained": "false", "warmup": 0.0, "device": "cpu",
        "optim": "sgd",  # Adam's first steps make much of how another processor adds
    }  # fmt: skip
    options = TrainOptions(**settings | RUNS[name])
    assert train(options) == 0
    run = folder / "logs" / options.mode / options.exp_name
    (row,) = read(run / "metrics.csv")
    answers = read(run / "predictions_valid.csv")
    classes = list(answers[0])[5:]
    return {
        "train_loss": float(row["train_loss"]),
        "valid_loss": float(row["valid_loss"]),
        "answers": [[float(answer[name]) for name in classes] for answer in answers],
    }


def golden_features(folder: Path) -> dict:
    """What is stored of one film: shapes, means and a few values of each array."""
    data = folder / "corpus" / "train"
    data.mkdir(parents=True)
    film = [face_frame(left=20 + 2 * step) for step in range(12)]
    write_clip(data / "001-hap-hap-hap.mp4", film, tone(1.2, 300) + noise(1.2), fps=10)
    np.savez(data / "001.npz", word_embed=np.arange(12.0).reshape(3, 4))
    options = PreprocessOptions(
        data_dir=str(data.parent), features_dir=str(folder / "stored"), vggface_weights="none",
        num_workers=0,
    )  # fmt: skip
    assert preprocess(options) == 0
    store = FeatureStore(folder / "stored")
    (record,) = store.read_manifest("train")
    clip = StoredClip(store, "train", record)
    speech, track = clip.read("speech").astype(np.float64), clip.read("video")
    facts = ("start", "end", "frames", "face_frames", "face_coverage", "words", "peak_db")
    return {
        "record": [record.duration, *(record.fact(name) for name in facts)],
        "speech": [*speech.shape, speech.mean(), speech.std(), *speech[::32, ::16].ravel()],
        "boxes": track.box.astype(np.float64).round(2).ravel().tolist(),
        "crops": [len(track.jpeg), float(track.decode(np.arange(len(track.time))).mean())],
        "words": clip.read("text").values.ravel().tolist(),
    }


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main(path: Path) -> None:
    """Write all of it down."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        content = {name: golden_run(name, Path(folder)) for name in RUNS}
        content["features"] = golden_features(Path(folder))
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
