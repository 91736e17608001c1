"""``--timeline True``: an answer every hop of a longer recording, as a CSV and a picture."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from emotion import registry
from emotion.emotions import full_names
from emotion.errors import UserError, first_line
from emotion.files import LONGEST_NAME
from emotion.inputs.extraction import extraction_of
from emotion.inputs.video import MediaError
from emotion.machine import threads
from emotion.prediction.annotated import check_video, write_video
from emotion.prediction.answers import shown
from emotion.prediction.inputs import Item
from emotion.prediction.notice import notice_of
from emotion.prediction.options import PredictOptions
from emotion.prediction.phrases import PHRASE, phrases_of
from emotion.prediction.plots import draw_timeline
from emotion.prediction.predictor import Answer, Ensemble, present, warn
from emotion.prediction.reading import ItemReader, crew_of, reader_here
from emotion.prediction.recording import Recording, Span, WindowReader, read_recording, spans_of
from emotion.prediction.scenes import scene_of_recording
from emotion.prediction.tables import write_table
from emotion.telling import printable
from emotion.workers import Lost, in_order

MOST_WINDOWS = 8  # at once: more are no faster, and 32 of 4 s take 2 GB in EfficientNet-B0
TIMEOUT_BYTES = 10_000_000  # of a recording for which the time limit of a clip holds

Recordings = dict[tuple, Recording]  # by settings


class Timeline(NamedTuple):
    """The answers to the windows of one recording."""

    recording: Recording
    spans: list[Span]
    answers: list[Answer]


def write_timelines(options: PredictOptions, predictor: Ensemble, items: Sequence[Item]) -> int:
    """Answer every window of every file; write the CSV and one picture per file.

    Returns:
        The number of files with an answer.

    Raises:
        UserError: the models read words alone, or an item is no media file.
    """
    if options.video:
        _check(predictor, items)
        check_video(options.video, items)
    output = Path(options.output)
    class_names = predictor.members[0].checkpoint.class_names
    notice = notice_of(predictor.members)
    header = ["FileID", "start", "end", "Emotion", *class_names, "modalities"]
    header += ["notice"] * bool(notice)
    rows, answered = [], 0
    for item, timeline in zip(items, timelines(options, predictor, items), strict=True):
        own = _rows(item, timeline, predictor, class_names)
        rows += [[*row, notice] for row in own] if notice else own
        if timeline is not None and any(answer.given for answer in timeline.answers):
            answered += 1
            try:
                _draw(timeline, item, class_names, picture_path(output, item), options.window)
            except (OSError, ValueError) as error:  # the answers are worth more than a picture
                warn(f"{item.name}: its picture is missing ({first_line(error)})")
        write_table(output, header, rows)  # after each file: what is done is there
        if options.video and timeline is not None:
            _film(timeline, item, class_names, options)
    return answered


def timelines(
    options: PredictOptions, predictor: Ensemble, items: Sequence[Item]
) -> Iterator[Timeline | None]:
    """The answers to every window of each file; None where it cannot be read.

    Raises:
        UserError: the models read words alone, or an item is no media file.
    """
    _check(predictor, items)
    for item, recordings in zip(items, _recordings(options, predictor, items), strict=True):
        yield _timeline(options, predictor, item, recordings)


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


def _check(predictor: Ensemble, items: Sequence[Item]) -> None:
    read = [(r.settings, name) for r in predictor.readings for name in r.features]
    if not any(_is_timed(predictor, *one) for one in read):
        raise UserError(
            "--timeline True: words carry no times unless they are heard; give --transcripts with "
            "times, a model of features made with --transcribe, or one of speech or face"
        )
    stored = next((item for item in items if item.store is not None), None)
    if stored is not None:
        raise UserError(f"--timeline True wants media files; {stored.name} is a clip of features/")
    unseen = next((item for item in items if item.clip.path is None), None)
    if unseen is not None:
        raise UserError(f"--timeline True wants media files; {unseen.name} is a transcript alone")


def _is_timed(predictor: Ensemble, settings: str, name: str) -> bool:
    options = registry.pick(extraction_of(name), predictor.options)
    return registry.feature(name).is_timed(json.loads(settings), options)


def _timeline(
    options: PredictOptions, predictor: Ensemble, item: Item, recordings: Recordings | str
) -> Timeline | None:
    if isinstance(recordings, str):
        warn(f"{item.name}: {recordings}; its row is empty")
        return None
    reader = predictor.reader([item])
    longest = max(recordings.values(), key=lambda r: len(r.values))
    spans = _spans(options, item, longest)
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


def _spans(options: PredictOptions, item: Item, recording: Recording) -> list[Span]:
    if options.window != PHRASE:
        return spans_of(recording.media.duration, options.window, options.hop)
    spans = phrases_of(recording)
    if not spans:
        seconds = PredictOptions.window
        warn(f"{item.name}: nobody speaks, so its windows are of {seconds:g} s")
        spans = spans_of(recording.media.duration, seconds, options.hop)
    return spans


def _recordings(
    options: PredictOptions, predictor: Ensemble, items: Sequence[Item]
) -> Iterator[Recordings | str]:
    """What each file holds, or why it cannot be read; read by a process that is watched over."""
    reader = predictor.reader(items)
    if not options.num_workers:
        yield from (_read(reader, index) for index in range(len(items)))
        return
    largest = max(item.clip.path.stat().st_size for item in items)
    timeout = options.clip_timeout * -(-largest // TIMEOUT_BYTES)
    crew = crew_of(reader, _read_here, timeout, threads())
    for read in in_order(range(len(items)), 1, crew, 1):
        yield read.reason if isinstance(read, Lost) else read


def _read_here(index: int) -> Recordings | str:
    return _read(reader_here(), index)


def _read(reader: ItemReader, index: int) -> Recordings | str:
    clip = reader.items[index].clip
    try:
        return {
            settings: read_recording(clip, extractor)
            for settings, extractor in reader.extractors.items()
        }
    except MediaError as error:
        return str(error)


def _rows(
    item: Item, timeline: Timeline | None, predictor: Ensemble, class_names: Sequence[str]
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


def _draw(
    timeline: Timeline, item: Item, class_names: Sequence[str], path: Path, window: float | str
) -> None:
    if window == PHRASE:
        windows = "windows from pause to pause"
    else:
        windows = f"windows of {timeline.spans[0].end - timeline.spans[0].start:.3g} s"
    draw_timeline(
        scene_of_recording(timeline.recording),
        *_over_time(timeline, window),
        class_names,
        answer=overall(timeline, class_names),
        title=f"{printable(item.clip.path.name)}: {windows}",
        path=path,
    )


def _film(
    timeline: Timeline, item: Item, class_names: Sequence[str], options: PredictOptions
) -> None:
    faces = scene_of_recording(timeline.recording).faces
    answers = _over_time(timeline, options.window)
    write_video(Path(options.video), item, faces, answers, class_names)


def _over_time(timeline: Timeline, window: float | str) -> tuple[np.ndarray, np.ndarray]:
    """Times and answers (N, classes) to draw."""
    probabilities = np.stack([answer.probabilities for answer in timeline.answers])
    if window == PHRASE:
        return held(timeline.spans, probabilities)
    return sliding(timeline.spans, probabilities, timeline.recording.media.duration)


def overall(timeline: Timeline, class_names: Sequence[str]) -> str:
    """The answer to all of a recording: the likeliest class of its windows' mean, by their length,
    and its probability.
    """
    probabilities = np.stack([answer.probabilities for answer in timeline.answers])
    given = np.isfinite(probabilities).all(axis=1)
    seconds = np.array([span.end - span.start for span in timeline.spans])[given]
    mean = np.average(probabilities[given], axis=0, weights=np.maximum(seconds, 1e-3))
    best = int(mean.argmax())
    return f"{full_names(class_names)[best]}, {100 * mean[best]:.0f} %"


def sliding(
    spans: Sequence[Span], probabilities: np.ndarray, length: float
) -> tuple[np.ndarray, np.ndarray]:
    """Times and answers (N, classes) to draw: each at its window's middle, the first and the last
    to the ends of the recording.
    """
    centres = np.array([(span.start + span.end) / 2 for span in spans])
    times = np.concatenate([[0.0], centres, [max(length, centres[-1])]])
    return times, np.concatenate([probabilities[:1], probabilities, probabilities[-1:]])


def held(spans: Sequence[Span], probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times and answers (N, classes) to draw: each throughout its window, NaN between two."""
    edge = 1e-3
    times = [t for s in spans for t in (s.start, s.start + edge, s.end - edge, s.end)]
    drawn = np.repeat(probabilities, 4, axis=0)
    drawn[0::4] = drawn[3::4] = np.nan
    return np.array(times), drawn
