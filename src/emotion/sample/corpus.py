"""Generated sample corpus: ``python -m emotion.sample --out DIR --clips_per_emotion N``.

Real mp4 files in the QIA2020 layout, to try the whole program on a machine without any corpus. The
face is a warped portrait, the voice is synthetic, the words are random vectors: scores reached on
it show that the program works, and nothing about how well it recognises people's emotions.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
from moviepy import AudioArrayClip, VideoClip
from tqdm import tqdm

from emotion.errors import UserError
from emotion.files import write_csv
from emotion.machine import cores
from emotion.sample.face import FRAMES_PER_SECOND, FaceScene, render_face
from emotion.sample.plan import (
    CUES,
    FACE_DISAGREES,
    SPEECH_DISAGREES,
    SPLITS,
    WORDS_SAY_NOTHING,
    SampleClip,
    best_possible_accuracy,
    plan_clips,
)
from emotion.sample.text import say, sentence
from emotion.sample.voice import SAMPLE_RATE, STYLES, speak
from emotion.telling import tell

FORMAT = 1  # of the content: raise it when the same seed no longer gives the same clips
DURATION = (2.4, 3.6)  # seconds
SILENCE = (0.2, 0.6)  # seconds before and after the voice
NOTICE = "trained on generated clips: no knowledge of people"  # goes along with every answer
UNFINISHED = ".unfinished"  # folder inside DIR for files that are being written

README = """Generated sample corpus, {per_emotion} training clips per emotion, seed {seed}.

Made by `python -m emotion.sample --out DIR --clips_per_emotion {per_emotion} --seed {seed}`.
The clips are GENERATED: a public-domain portrait (Grace Hopper, US Navy) warped into expressions, a
synthetic voice without words, and random vectors in place of word embeddings. Scores on this
corpus show that the program runs. They are NO EVIDENCE OF ACCURACY on people.

Layout (QIA2020): {{train,val}}/<FileID>-<integrated>-<face>-<speech>.mp4, test/<FileID>.mp4, and
<FileID>.npz with `word_embed`, float32 (words, 200), beside each. test_labels.csv (columns FileID,
Emotion, Face, Speech; Emotion is the integrated one) is for scoring answers on the test split.
table.csv lists the same clips for `preprocess.py --corpus table`, with labels and sentences.

The face label differs from the integrated one in {face_disagrees:.0%} of the clips,
the speech label in {speech_disagrees:.0%}; in {words_silent:.0%} the words tell nothing.
What each modality shows:

{cues}

Best possible accuracy on the integrated label: face {face:.1%}, voice {voice:.1%},
words {words:.1%}, all three {fused:.1%}; chance is 14.3%.
"""


def _random(seed: int, clip: SampleClip, purpose: str) -> np.random.Generator:
    """Randomness of one clip for one purpose, whoever makes it and in whatever order."""
    return np.random.default_rng([seed, clip.id, *purpose.encode()])


def compose(clip: SampleClip, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture, sound and words of one clip.

    Returns:
        RGB uint8 (F, H, W, 3); float32 (samples,); float32 (words, 200).
    """
    timing = _random(seed, clip, "timing")
    # A whole number of frames, so that picture and sound end together.
    duration = round(timing.uniform(*DURATION) * FRAMES_PER_SECOND) / FRAMES_PER_SECOND
    before, after = timing.uniform(*SILENCE, 2)
    speech = (before, duration - after)
    scene = FaceScene(CUES[clip.face][0], duration, speech)
    frames = render_face(scene, _random(seed, clip, "face"))
    style = STYLES[CUES[clip.speech][1]]
    voice = speak(style, duration, speech, _random(seed, clip, "voice"))
    return frames, voice, say(clip.topic, _random(seed, clip, "words"))


def write_mp4(path: Path, frames: np.ndarray, voice: np.ndarray) -> None:
    """Writes H.264 + AAC; the same input gives the same bytes with the same ffmpeg.

    Args:
        path: of the new file; a temporary file lies beside it meanwhile.
        frames: RGB uint8 (F, H, W, 3), FRAMES_PER_SECOND a second.
        voice: float32 (samples,) at SAMPLE_RATE.

    Raises:
        UserError: the file is not complete (moviepy does not tell when ffmpeg was stopped).
    """
    path = path.absolute()  # ffmpeg takes what stands before a colon for a protocol otherwise
    last = len(frames) - 1
    picture = VideoClip(
        lambda time: frames[min(round(time * FRAMES_PER_SECOND), last)],
        duration=len(frames) / FRAMES_PER_SECOND,
    )
    # Two equal channels: AudioArrayClip of moviepy 2.2 doubles the length of a single one.
    sound = AudioArrayClip(np.stack([voice, voice], axis=1), fps=SAMPLE_RATE)
    # m4a keeps the encoder's delay on record; moviepy's own choice, raw AAC, shifts the sound.
    picture.with_audio(sound).write_videofile(
        str(path),
        fps=FRAMES_PER_SECOND,
        codec="libx264",
        preset="superfast",
        audio_codec="aac",
        audio_fps=SAMPLE_RATE,
        audio_bitrate="64k",
        temp_audiofile=str(path.with_suffix(".m4a")),
        threads=1,
        logger=None,
    )
    with av.open(str(path)) as written:
        complete = written.streams.video[0].frames == len(frames) and written.streams.audio
    if not complete:
        raise UserError(f"{path}: ffmpeg did not finish it; is the disk full? Then run again")


def _paths(out: Path, clip: SampleClip) -> tuple[Path, Path]:
    """The mp4 and the npz of a clip."""
    folder = out / clip.split
    return folder / f"{clip.stem}.mp4", folder / f"{clip.file_id}.npz"


def make_clip(out: Path, clip: SampleClip, seed: int) -> None:
    """Makes one clip under ``out``; both its files are complete or absent."""
    frames, voice, words = compose(clip, seed)
    for path in _paths(out, clip):
        unfinished = out / UNFINISHED / path.name
        if path.suffix == ".mp4":
            write_mp4(unfinished, frames, voice)
        else:
            np.savez(unfinished, word_embed=words)
        os.replace(unfinished, path)


@contextmanager
def _postponed_interrupt() -> Generator[None, None, None]:
    """Ctrl-C waits for the end of a clip: interrupted, moviepy may print its own traceback."""
    in_charge = threading.current_thread() is threading.main_thread()
    if not in_charge or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed:  # whatever else went wrong: Ctrl-C stops ffmpeg too
            raise KeyboardInterrupt


def _start_worker() -> None:
    # The parent hears Ctrl-C and lets the clips in the works be finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _make_all(
    out: Path, clips: Sequence[SampleClip], seed: int, workers: int
) -> Generator[None, None, None]:
    """Makes all clips; yields after each."""
    if workers == 1:
        for clip in clips:
            with _postponed_interrupt():
                make_clip(out, clip, seed)
            yield
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        futures: list[Future[None]] = [pool.submit(make_clip, out, clip, seed) for clip in clips]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise UserError(f"{out}: a worker was killed; run again with --workers 1") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_folder(out: Path, plan: dict[str, int]) -> None:
    """Refuses a folder that holds something else than (part of) this very corpus."""
    record = out / "plan.json"
    if not record.exists():
        if any(path for split in SPLITS for path in (out / split).glob("*.mp4")):
            raise UserError(
                f"{out}: holds clips that were not generated here; choose another --out"
            )
        return
    try:
        found = json.loads(record.read_text())
    except ValueError as error:
        raise UserError(f"{record}: cannot be read ({error}); remove {out}") from error
    if found != plan:
        raise UserError(
            f"{out}: holds another sample corpus, made with {json.dumps(found)}, not "
            f"{json.dumps(plan)}; choose another --out or remove the folder"
        )


def _write_text(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text)
    os.replace(unfinished, path)


def _write_table(out: Path, clips: Sequence[SampleClip], seed: int) -> None:
    """The same clips as a table of one's own: labels of every split, and sentences."""
    heading = ("id", "path", "label", "face_label", "speech_label", "split", "transcript")
    rows = [
        (
            *(clip.file_id, f"{clip.split}/{clip.stem}.mp4"),
            *(clip.integrated, clip.face, clip.speech, clip.split),
            sentence(clip.topic, _random(seed, clip, "sentence")),
        )
        for clip in clips
    ]
    write_csv(out / "table.csv", heading, rows)


def _describe(per_emotion: int, seed: int) -> str:
    """Text of README.txt."""
    rows = [("emotion", "face", "voice", "words"), *((e, *cues) for e, cues in CUES.items())]
    cues = "\n".join("  " + "".join(f"{entry:<12}" for entry in row).rstrip() for row in rows)
    face, voice, words = (best_possible_accuracy([modality]) for modality in range(3))
    return README.format(
        per_emotion=per_emotion, seed=seed, cues=cues, face=face, voice=voice, words=words,
        fused=best_possible_accuracy(range(3)), face_disagrees=FACE_DISAGREES,
        speech_disagrees=SPEECH_DISAGREES, words_silent=WORDS_SAY_NOTHING,
    )  # fmt: skip


def _lay_out(out: Path, clips: Sequence[SampleClip], plan: dict[str, int]) -> None:
    """Folders, the labels of the test split, README.txt, and last the record of the plan."""
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)  # of a run that was killed
    for folder in (*SPLITS, UNFINISHED):
        (out / folder).mkdir(parents=True, exist_ok=True)
    _write_text(out / "plan.json", json.dumps(plan) + "\n")
    tested = (clip for clip in clips if clip.split == "test")
    rows = (f"{clip.file_id},{clip.integrated},{clip.face},{clip.speech}" for clip in tested)
    _write_text(out / "test_labels.csv", "\n".join(["FileID,Emotion,Face,Speech", *rows]) + "\n")
    _write_table(out, clips, plan["seed"])
    _write_text(out / "notice.txt", NOTICE + "\n")
    _write_text(out / "README.txt", _describe(plan["clips_per_emotion"], plan["seed"]))


def generate(out: Path, clips_per_emotion: int, seed: int, workers: int = 1) -> int:
    """Makes the corpus, or what is missing of it.

    Args:
        out: folder for it.
        clips_per_emotion: in train; val and test hold half as many each, two at least.
        seed: the same gives the same corpus, whatever the number of workers.
        workers: processes.

    Returns:
        How many clips were made now.

    Raises:
        UserError: the folder cannot be used, or holds other clips.
    """
    plan = {"format": FORMAT, "clips_per_emotion": clips_per_emotion, "seed": seed}
    clips = plan_clips(clips_per_emotion, seed)
    try:
        _check_folder(out, plan)
        _lay_out(out, clips, plan)
        missing = [clip for clip in clips if not all(path.exists() for path in _paths(out, clip))]
        making = _make_all(out, missing, seed, max(1, min(workers, len(missing))))
        with closing(making):  # Ctrl-C: the workers end before their folder goes
            for _ in tqdm(making, "sample clips", len(missing), unit="clip", disable=not missing):
                pass
    except OSError as error:
        raise UserError(f"{error.filename or out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return len(missing)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m emotion.sample",
        description="Generate a small corpus of made-up clips in the QIA2020 layout.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the corpus")
    parser.add_argument(
        "--clips_per_emotion", type=int, default=14,
        help="training clips per emotion; validation and test get half as many each, 2 at least",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same clips")
    parser.add_argument("--workers", type=int, default=cores(), help="processes")
    options = parser.parse_args(arguments)
    for name, least in (("clips_per_emotion", 1), ("seed", 0), ("workers", 1)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} {getattr(options, name)}: give {least} or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    try:
        options = _parse(arguments)
        made = generate(options.out, options.clips_per_emotion, options.seed, options.workers)
    except UserError as error:
        tell(error)
        return 2
    except KeyboardInterrupt:
        tell("stopped; run the same command again to go on")
        return 130
    print(f"{options.out}: {made} clips made; generated, so scores on them are no evidence")
    return 0
