"""Speech to words with times: Whisper (Radford et al. 2022, arXiv 2212.04356) run by
faster-whisper, in int8 (``requirements-words.txt``).

What holds no voice has no words: Silero's detector, which comes with faster-whisper, hears every
clip first. Whisper itself hears "Thank you" in music.
"""

import hashlib
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from emotion.errors import UserError, first_line
from emotion.inputs.spoken import Spoken, Word, cleaned
from emotion.lazy import Lazy, optional

FLAG = "--transcribe"
torch = Lazy("torch")  # stored words are read without
WEIGHTS = "model.bin"  # of a folder that holds a Whisper
FILES = f"{WEIGHTS}, config.json and tokenizer.json"
AUTO = "auto"  # the language that is heard
BEAM = 5
# Whisper lays the first word on the start of what it is given: the library's padding of 0.4 s would
# put it 0.35 s before the speech; and it makes words up in silence, of which 2 s are let pass
VOICE = {"speech_pad_ms": 100, "min_silence_duration_ms": 500}
UNSURE, SHORTEST, LONGEST = 0.15, 0.133, 2.0  # probability and seconds of a word that is odd
REPEATED = 2.4  # zlib makes text so many times shorter that says one thing over and over
FASTEST = 30  # bytes of UTF-8 a second; people say about 15 in English and 20 in Korean


class Transcriber:
    """Waveforms in, words out; nothing is drawn, so the same sound gives the same words."""

    def __init__(self, source: str, language: str = AUTO, device: str = "cpu") -> None:
        """Load the network.

        Args:
            source: a folder in the form of CTranslate2, or a name such as ``base``.
            language: a code such as ``en``, or ``auto``.
            device: where it runs.

        Raises:
            UserError: no faster-whisper, no such model, no network to fetch it, or no such
                language.
        """
        self.library = _library(source)
        folder = _folder_of(self.library, source)
        place, _, index = device.partition(":")
        try:
            self.model = self.library.WhisperModel(
                str(folder), device=place, device_index=int(index or 0), compute_type="int8",
                cpu_threads=torch.get_num_threads(), local_files_only=True,
            )  # fmt: skip
        except Exception as error:  # the library raises what its file formats raise
            raise UserError(
                f"{FLAG} {source}: not a Whisper ({first_line(error)}); requires {FILES}"
            ) from error
        known = self.model.supported_languages
        if language not in (AUTO, *known):
            raise UserError(f"--language {language}: not one of {AUTO}, {', '.join(known)}")
        self.language = None if language == AUTO else language
        self.fingerprint = fingerprint(folder)

    def __call__(self, waveform: np.ndarray) -> Spoken:
        """The words of a waveform, float32 (samples,), 16 kHz mono; none where nobody speaks."""
        voice = self.library.vad
        if not voice.get_speech_timestamps(waveform, voice.VadOptions(**VOICE)):
            return Spoken()
        segments, heard = self.model.transcribe(
            waveform, language=self.language, beam_size=BEAM, temperature=0.0, vad_filter=True,
            vad_parameters=VOICE, word_timestamps=True, condition_on_previous_text=False,
        )  # fmt: skip
        words = [w for segment in segments if not is_made_up(segment) for w in segment.words]
        if not words:
            return Spoken()
        sure = math.exp(sum(math.log(max(w.probability, 1e-6)) for w in words) / len(words))
        timed = (Word(word.word, float(word.start), float(word.end)) for word in words)
        return Spoken(cleaned(timed), heard.language, round(sure, 3))


def is_made_up(segment: Any) -> bool:
    """Whether a segment is one that Whisper makes up: it says one thing over and over, faster than
    people speak (``Stop! Stop! Stop!`` they do say), or, as its own program has it, most of the
    first eight words are improbable, or said in no time.

    Args:
        segment: of faster-whisper: text, start and end in seconds, and words with start, end and
            probability.
    """
    said = segment.text.encode()
    again = len(said) > REPEATED * len(zlib.compress(said))
    if again and len(said) > FASTEST * (segment.end - segment.start):
        return True
    first = segment.words[:8]
    oddness = sum(
        (word.probability < UNSURE)
        + 15 * max(0.0, SHORTEST - (word.end - word.start))
        + max(0.0, word.end - word.start - LONGEST)
        for word in first
    )
    return oddness >= 3 or oddness + 0.01 >= len(first)


def fingerprint(folder: Path) -> str:
    """Of the weights: the same network has it wherever its folder lies."""
    with (folder / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _library(source: str) -> Any:
    return optional("faster_whisper", f"{FLAG} {source}", "requirements-words.txt")


def _folder_of(library: Any, source: str) -> Path:
    """The folder itself, or that of a model of this name, downloaded now or before."""
    if (Path(source) / WEIGHTS).is_file():
        return Path(source)
    if Path(source).is_dir():
        raise UserError(f"{FLAG} {source}: holds no {WEIGHTS}; give a folder with {FILES}")
    try:
        return Path(library.download_model(source))
    except Exception as error:  # no such name, no network
        raise UserError(
            f"{FLAG} {source}: no such folder, and not to be had from the Hugging Face hub "
            f"({first_line(error)}); give a folder that holds {FILES}"
        ) from error
