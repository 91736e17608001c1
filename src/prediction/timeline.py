"""``--timeline True``: an answer every hop of a longer recording, as a CSV and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from src.errors import UserError
from src.feature_store import write_csv
from src.prediction.answers import shown
from src.prediction.inputs import Item
from src.prediction.options import PredictOptions
from src.prediction.plots import Scene, draw_timeline
from src.prediction.predictor import Answer, Predictor, present, warn
from src.prediction.reading import ItemReader
from src.prediction.recording import Recording, Span, WindowReader, read_recording, spans_of
from src.prediction.scenes import envelope
from src.preprocessing.pipeline import FeatureSettings
from src.preprocessing.video import MediaError

MOST_WINDOWS = 8  # at once: more are no faster, and 32 of 4 s take 2 GB in EfficientNet-B0


class Timeline(NamedTuple):
    """The answers to the windows of one recording."""

    recording: Recording
    spans: list[Span]
    answers: list[Answer]


def write_timelines(options: PredictOptions, predictor: Predictor, items: Sequence[Item]) -> int:
    """Answer every window of every file; write the CSV and a picture a file.

    Returns:
        The number of files with an answer.

    Raises:
        UserError: the models read words alone, or an item is no media file.
    """
    _check(predictor, items)
    output = Path(options.output)
    class_names = predictor.members[0].checkpoint.class_names
    header = ["FileID", "start", "end", "Emotion", *class_names, "modalities"]
    rows, answered = [], 0
    for item in items:
        timeline = _timeline(options, predictor, item)
        rows += _rows(item, timeline, predictor, class_names)
        if timeline is not None and any(answer.given for answer in timeline.answers):
            answered += 1
            _draw(timeline, item, class_names, picture_path(output, item))
        write_csv(output, header, rows)  # after each file: what is done is there
    return answered


def picture_path(output: Path, item: Item) -> Path:
    """Where the picture of a recording goes: beside the CSV."""
    return output.with_name(f"{output.stem}_{Path(item.clip.id).stem}.png")


def _check(predictor: Predictor, items: Sequence[Item]) -> None:
    if not any(r.inputs.speech or r.inputs.face for r in predictor.readings):
        raise UserError("--timeline True: words carry no times; give a model of speech or face")
    stored = next((item for item in items if item.store is not None), None)
    if stored is not None:
        raise UserError(f"--timeline True wants media files; {stored.name} is a clip of features/")


def _timeline(options: PredictOptions, predictor: Predictor, item: Item) -> Timeline | None:
    reader = predictor.reader([item])
    try:
        recordings = _recordings(reader, item.clip.path)
    except MediaError as error:
        warn(f"{item.name}: {error}; its row is empty")
        return None
    longest = max(recordings.values(), key=lambda r: r.faces is not None)
    spans = spans_of(longest.duration, options.window, options.hop)
    windows = WindowReader(reader, recordings, spans)
    answers: list[Answer] = []
    size = min(options.batch_size, MOST_WINDOWS)
    starts = range(0, len(spans), size)
    for first in tqdm(starts, desc=item.clip.path.name, unit="batch", disable=None):
        rows = range(first, min(first + size, len(spans)))
        answers += predictor.answer_batch([windows[row] for row in rows], windows.items)
    for reason in dict.fromkeys(reason for answer in answers for reason in answer.reasons):
        warn(f"{item.name}: {reason}")
    if not any(answer.given for answer in answers):
        warn(f"{item.name}: has nothing that these models read; its row is empty")
    return Timeline(longest, spans, answers)


def _recordings(reader: ItemReader, path: Path) -> dict[FeatureSettings, Recording]:
    return {
        settings: read_recording(path, settings, tools) for settings, tools in reader.tools.items()
    }


def _rows(
    item: Item, timeline: Timeline | None, predictor: Predictor, class_names: Sequence[str]
) -> list[list[str]]:
    if timeline is None:
        return [[item.clip.id, *[""] * (len(class_names) + 4)]]
    return [
        [
            item.clip.id,
            f"{span.start:.3f}",
            f"{span.end:.3f}",
            class_names[answer.probabilities.argmax()] if answer.given else "",
            *shown(answer.probabilities),
            " ".join(present(answer.record, predictor.readings)),
        ]
        for span, answer in zip(timeline.spans, timeline.answers, strict=True)
    ]


def _draw(timeline: Timeline, item: Item, class_names: Sequence[str], path: Path) -> None:
    recording = timeline.recording
    sound = recording.waveform
    has_sound = sound is not None and sound.size
    scene = Scene(
        0.0, recording.duration, envelope(sound) if has_sound else None, None, recording.faces
    )
    centres = np.array([(span.start + span.end) / 2 for span in timeline.spans])
    probabilities = np.stack([answer.probabilities for answer in timeline.answers])
    window = timeline.spans[0].end - timeline.spans[0].start
    title = f"{item.clip.path.name}: windows of {window:g} s"
    draw_timeline(scene, centres, probabilities, class_names, title, path)
