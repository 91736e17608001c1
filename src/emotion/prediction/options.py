"""The flags of predict.py."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion import registry
from emotion.command_line import flag
from emotion.machine import cores


@dataclass
class PredictOptions:
    """One field is one flag; groups are those of ``--help``."""

    weights: list[str] = flag(  # noqa: RUF009
        [],
        "checkpoints or run folders (their best); several are an ensemble; without, the first "
        "model in weights/",
        "what",
        type=str,
    )
    input: list[str] = flag(  # noqa: RUF009
        [],
        "video or audio files, folders of them, a table.csv, or folders such as features/test",
        "what",
        type=str,
    )
    extend: list[str] = flag(  # noqa: RUF009
        [], "Python files that bring what a model was made with", "what", type=str
    )
    split: str = flag("", "a split of --features_dir, in place of --input", "what")
    transcripts: list[str] = flag(  # noqa: RUF009
        [],
        "what is said, in place of the transcriber: a CSV (FileID,transcript), a folder of txt, "
        "srt, vtt or TextGrid, or none; or where the transcriber or text encoder has moved to",
        "what",
        type=str,
    )
    encoders: list[str] = flag(  # noqa: RUF009
        [],
        "frozen networks that have moved since the training, of the same names: folders, ONNX "
        "files, VGG-Face weights",
        "what",
        type=str,
    )
    features_dir: str = flag(
        "",
        "made by preprocess.py; features/ beside the script; with --input, features of other clips "
        "of the same person, for models of --normalise speaker",
        "what",
    )
    output: str = flag(
        "predictions.csv",
        "the answers: FileID,Emotion,modalities; .json and .parquet by its ending",
        "what",
    )

    probabilities: bool = flag(False, "add a column per class", "answers")
    abstain: float = flag(
        0.0,
        "leave the rows open that the model is not sure of, so that the others are right at this "
        "rate: the confidence that takes is chosen on validation clips; 0 answers all",
        "answers",
        low=0.0,
        high=1.0,
    )
    tta: int = flag(
        1,
        "views of a clip to average: faces mirrored, speech cropped in time, copies of features",
        "answers",
        low=1,
    )

    timeline: bool = flag(False, "answer every window of a longer recording", "over time")
    window: float | str = flag(
        4.0,
        "seconds of a window; phrase: windows from pause to pause",
        "over time",
        low=0.5,
        high=60.0,
        words=("phrase",),
    )
    hop: float = flag(1.0, "seconds between two windows", "over time", low=0.1, high=60.0)
    video: str = flag(
        "",
        "write the one file of --input as an mp4 with the face's box, the answer's name and bars; "
        "the sound is kept; --timeline True with it",
        "over time",
    )

    report: str = flag(
        "", "folder for report.html and report.json, where labels are known", "score"
    )
    label: str = flag("integrated", "which label counts", "score", ("integrated", "face", "speech"))
    labels: str = flag("", "a CSV with the columns FileID,Emotion that holds the labels", "score")
    class_map: str = flag(
        "",
        "CSV with the columns other,this: what the classes of another corpus are called here, "
        "nothing for those that do not count (recipes/maps/); answers are among the classes that "
        "both have",
        "score",
    )
    stress: bool = flag(
        False,
        "the report also tells how answers to media files hold under noise, another level, a "
        "telephone's band, dark, blurred and late pictures",
        "score",
    )
    calibrate: bool = flag(
        False, "fit a temperature, on val without --split, and store it by the checkpoint", "score"
    )

    export: str = flag("", "write the model as ONNX to this file", "export")

    batch_size: int = flag(32, "clips at once", "running", low=1)
    num_workers: int = flag(
        cores(),
        "processes that read clips, at most one per core; 0 reads in this one",
        "running",
        low=0,
    )
    clip_timeout: float = flag(
        600.0,
        "seconds that a file may take to be read before its row stays empty, with --timeline for "
        "each 10 MB of it; 0 waits for ever, and so do 0 workers",
        "running",
        low=0,
    )
    device: str = "auto"  # or cpu, cuda: from Python; the scripts go by CUDA_VISIBLE_DEVICES


def _given(field: dataclasses.Field) -> property:
    """A flag of preprocess.py for a frozen network, out of ``--encoders``: what has an ending that
    the flag takes, the last one where it takes one, or its default.
    """
    endings = field.metadata["predict"]

    def value(options: PredictOptions) -> Any:
        paths = [path for path in options.encoders if _ending(path) in endings]
        if field.default is dataclasses.MISSING:
            return paths
        return paths[-1] if paths else field.default

    return property(value)


def _ending(path: str) -> str:
    ending = Path(path).suffix
    return ending if ending in (".onnx", ".pt", ".pth") else ""


for _line in registry.FEATURES.values():
    for _field in dataclasses.fields(registry.options_of(_line.module, "Extraction")):
        if "predict" in _field.metadata:
            setattr(PredictOptions, _field.name, _given(_field))
