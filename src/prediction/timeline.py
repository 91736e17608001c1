"""``--timeline True``: an answer every hop of a longer recording, as a CSV and a picture."""

import hashlib
import math
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from src.errors import UserError, first_line
from src.files import write_csv
from src.prediction.answers import shown
from src.prediction.inputs import Item
from src.prediction.options import PredictOptions
from src.prediction.plots import Scene, draw_timeline
from src.prediction.predictor import Answer, Predictor, present, warn
from src.prediction.reading import ItemReader
from src.prediction.recording import Recording, Span, WindowReader, read_recording, spans_of
from src.prediction.scenes import envelope
from src.preprocessing.jobs import LONGEST_NAME
from src.preprocessing.pipeline import FeatureSettings
from src.preprocessing.video import MediaError, probe
from src.preprocessing.workers import Crew, Lost, answers
from src.telling import printable

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
            try:
                _draw(timeline, item, class_names, picture_path(output, item))
            except (OSError, ValueError) as error:  # the answers are worth more than a picture
                warn(f"{item.name}: its picture is missing ({first_line(error)})")
        write_csv(output, header, rows)  # after each file: what is done is there
    return answered


def picture_path(output: Path, item: Item) -> Path:
    """Where the picture of a recording goes: beside the CSV. A name that is too long for a file is
    cut and ends in a mark of the whole; so is one that is a path.
    """
    name = f"{output.stem}_{item.clip.id}"
    if "/" in name or len(os.fsencode(name)) > LONGEST_NAME:
        mark = hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
        whole = name.replace("/", "_")
        while len(os.fsencode(whole)) > LONGEST_NAME - len(mark) - 1:
            whole = whole[:-1]
        name = f"{whole}_{mark}"
    return output.with_name(f"{name}.png")


def _check(predictor: Predictor, items: Sequence[Item]) -> None:
    if not any(r.inputs.speech or r.inputs.face for r in predictor.readings):
        raise UserError("--timeline True: words carry no times; give a model of speech or face")
    stored = next((item for item in items if item.store is not None), None)
    if stored is not None:
        raise UserError(f"--timeline True wants media files; {stored.name} is a clip of features/")


def _timeline(options: PredictOptions, predictor: Predictor, item: Item) -> Timeline | None:
    reader = predictor.reader([item])
    recordings = _read_apart(reader, item.clip.path, options)
    if isinstance(recordings, str):
        warn(f"{item.name}: {recordings}; its row is empty")
        return None
    longest = max(recordings.values(), key=lambda r: r.faces is not None)
    spans = spans_of(longest.duration, options.window, options.hop)
    windows = WindowReader(reader, recordings, spans)
    answers: list[Answer] = []
    size = min(options.batch_size, MOST_WINDOWS)
    starts = range(0, len(spans), size)
    for first in tqdm(starts, desc=printable(item.clip.path.name), unit="batch", disable=None):
        rows = range(first, min(first + size, len(spans)))
        answers += predictor.answer_batch([windows[row] for row in rows], windows.items)
    for reason in dict.fromkeys(reason for answer in answers for reason in answer.reasons):
        warn(f"{item.name}: {reason}")
    if not any(answer.given for answer in answers):
        warn(f"{item.name}: has nothing that these models read; its row is empty")
    return Timeline(longest, spans, answers)


def _read_apart(
    reader: ItemReader, path: Path, options: PredictOptions
) -> dict[FeatureSettings, Recording] | str:
    """A recording as each model reads it, or why it cannot be read; in a process of its own, which
    it may kill or stall, where there are workers.
    """
    if not options.num_workers:
        return _recordings(path, reader)
    crew = Crew(_prepare, (options.threads, reader, options.clip_timeout), _read_one, 0.0)
    answer = next(answers([path], 1, crew))
    if not isinstance(answer, Lost):
        return answer
    late = "SIGALRM" in answer.reason
    return "takes too long (--clip_timeout)" if late else answer.reason


_worker: dict[str, Any] = {}


def _prepare(_: int, threads: int, reader: ItemReader, clip_timeout: float) -> None:
    torch.set_num_threads(threads)
    _worker["reader"], _worker["clip_timeout"] = reader, clip_timeout


def _read_one(path: Path) -> dict[FeatureSettings, Recording] | str:
    """As ``_recordings``; the kernel ends this process where it takes too long."""
    limit = math.ceil(_worker["clip_timeout"])
    signal.alarm(limit)
    try:
        minutes = math.ceil(probe(path).duration / 60)
    except MediaError as error:
        return str(error)
    signal.alarm(limit * max(1, minutes))
    recordings = _recordings(path, _worker["reader"])
    signal.alarm(0)
    return recordings


def _recordings(path: Path, reader: ItemReader) -> dict[FeatureSettings, Recording] | str:
    try:
        return {s: read_recording(path, s, tools) for s, tools in reader.tools.items()}
    except MediaError as error:
        return str(error)


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
    title = f"{printable(item.clip.path.name)}: windows of {window:g} s"
    draw_timeline(scene, centres, probabilities, class_names, title, path)
