"""Word vectors: those that lie beside a clip, or a transcript embedded after the media are done.

Kept as ``text/<FileID>.npz`` with ``word_embed`` float32 (W, D), and ``word_time`` (W,) seconds
where it is known when a word is said.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from emotion.command_line import flag
from emotion.errors import UserError, first_line
from emotion.inputs import transcription
from emotion.inputs.feature import Absent
from emotion.inputs.given_words import given
from emotion.inputs.media import Media
from emotion.inputs.spoken import spoken_of
from emotion.inputs.store import load_archive, numbers
from emotion.inputs.transcription import Ears
from emotion.inputs.transcripts import (
    EMBEDDER,
    Embedding,
    Transcripts,
    moved_to,
    transcripts_of,
)
from emotion.inputs.vectors import Options as Options
from emotion.inputs.vectors import VectorFeature, Vectors, without_times
from emotion.inputs.video import MediaError
from emotion.records import Clip, ClipFeatures, Corpus

MOST_WORDS = 200


class TextError(MediaError):
    """A word embedding file that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Extraction:
    """What embeds transcripts."""

    text_encoder: str = flag(
        "",
        "embeds transcripts in context: a Hugging Face encoder, by folder or name "
        "(pip install -r requirements-text.txt); after a colon how many of its last layers are "
        "averaged, 1 without",
        "features",
    )
    word_vectors: str = flag(
        "",
        "embeds transcripts word by word: a text file of word2vec, GloVe or fastText, .gz too",
        "features",
    )
    text_context: int = flag(
        0,
        "utterances before a clip in its dialogue that --text_encoder reads with its own words; "
        "such features, and models of them, are of this number",
        "features",
        low=0,
        high=20,
    )
    transcribe: str = ""  # of the transcriber
    transcripts: tuple[str, ...] = ()  # predict.py's flag
    encoders: tuple[str, ...] = ()  # predict.py's flag


class Words(VectorFeature):
    """See the module."""

    name, folder = "text", "text"
    by_id, of_media = True, False
    needs = (transcription.NAME,)
    anew = True
    staged = True
    jitter = False
    settings = ("text",)
    facts = ("words",)
    most = MOST_WORDS
    backdrop = "words"
    reasons = {
        "absent": "has no word embeddings",
        "model": "reads words alone, which --transcripts none leaves out; leave that out",
        "empty": "has no words",
        "failed": "has no readable word embeddings",
    }

    def extract(self, media: Media, settings: dict[str, Any], tools: Embedding | None) -> Vectors:
        """What lies beside the clip; what is said in it, where ``tools`` embed that at once.

        Raises:
            Absent: there is nothing, or nobody knows whether it is said in this window.
            TextError: the file cannot be used.
        """
        spoken = media.value(transcription.NAME) if tools else None
        if spoken is None and media.is_window:
            raise Absent("absent")
        if spoken is None and media.clip.text is not None:
            return _beside(media.clip.text)
        if spoken is None and tools and media.clip.transcript:
            spoken = spoken_of(media.clip.transcript)
        if spoken is None:
            raise Absent("absent")
        whole = media.value_of_all(transcription.NAME)
        words = tools(spoken, whole, media.clip) if spoken.words else None
        if words is None or not len(words.values):
            raise Absent("empty")
        return words

    def open(self, settings: dict[str, Any], options: Extraction, device: str) -> Embedding | None:
        """What embedded the words of the training, where they were embedded at all."""
        if settings.get(EMBEDDER) is None:
            return None
        found = given(tuple(options.transcripts))
        return Embedding(settings, found.embedder or moved_to(settings, options.encoders))

    def obstacle(self, settings: dict[str, Any], options: Extraction) -> str:
        """Whether words are to be left out; what hears or embeds them ends the program, in a line,
        where it is not here.

        Raises:
            UserError: so it is, or nothing is known that embeds what is given.
        """
        found = given(tuple(options.transcripts))
        if found.nothing:
            return "--transcripts none: words count as absent"
        if settings.get(EMBEDDER) is None:
            if found.words is not None:
                raise UserError(
                    "--transcripts: the words of the training came as vectors, and nothing embeds "
                    "these; leave it out"
                )
            return ""
        try:
            Embedding(settings, found.embedder or moved_to(settings, options.encoders))
            if found.words is None and settings.get(transcription.NAME):
                _ = Ears(settings[transcription.NAME], found, "cpu").transcriber
        except UserError as error:
            raise UserError(f"{error}, or leave words out: --transcripts none") from error
        return ""

    def is_timed(self, settings: dict[str, Any], options: Extraction) -> bool:
        """Where they are heard, or given with times."""
        found = given(tuple(options.transcripts))
        if settings.get(EMBEDDER) is None or found.nothing:
            return False
        if found.words is not None:
            return any(said.timed for said in found.words.values())
        return settings.get(transcription.NAME) is not None

    def afterwards(self, options: Extraction, corpus: Corpus, store: Any) -> Transcripts | None:
        """The transcripts, where the flags say what embeds them."""
        flags = {k: getattr(options, k) for k in ("text_encoder", "word_vectors")}
        return transcripts_of(corpus, store, flags, options.text_context, bool(options.transcribe))

    def describe(self, options: Extraction) -> dict[str, Any]:
        """Nothing, unless transcripts are embedded."""
        return {"text": None}

    def lies_beside(self, clip: Clip) -> bool:
        """Whether there is an npz beside the clip."""
        return clip.text is not None

    def describe_clip(self, media: Media, value: Vectors | None) -> dict[str, float | None]:
        """How many words there are."""
        return {"words": 0 if value is None else len(value.values)}

    def write(self, file: BinaryIO, value: Vectors) -> None:
        """An npz; times only where there are any."""
        times = {} if np.isnan(value.time).all() else {"word_time": value.time}
        np.savez(file, word_embed=value.values, **times)

    def read(self, path: Path, clip: ClipFeatures) -> Vectors:
        """The words of a FileID."""
        arrays = load_archive(path)
        vectors = without_times(numbers(arrays["word_embed"]))
        time = arrays.get("word_time", vectors.time)
        if time.shape != vectors.time.shape or time.dtype.kind != "f":
            raise ValueError("word_time does not fit word_embed")
        return vectors._replace(time=time)


def _beside(path: Path) -> Vectors:
    words = read_word_embeddings(path)
    if words is None:
        raise Absent("empty")
    return without_times(words)


def read_word_embeddings(path: Path) -> np.ndarray | None:
    """``word_embed`` of an npz as float32 (W, D); None where it holds no words.

    Raises:
        TextError: unreadable, no such key, of another rank or type, or not finite.
    """
    try:
        words = load_archive(path, ("word_embed",))["word_embed"]
    except KeyError:
        raise TextError("holds no array named word_embed") from None
    except Exception as error:  # numpy raises what zip, zlib and its header parser raise
        raise TextError(f"not a readable npz: {first_line(error)}") from error
    if words.dtype.kind not in "fiu":
        raise TextError(f"word_embed is of type {words.dtype}, not numbers")
    if words.ndim != 2:
        raise TextError(f"word_embed has the shape {words.shape}, not (words, size)")
    words = words.astype(np.float32)
    if not np.isfinite(words).all():
        raise TextError("word_embed holds values that are not finite")
    return words if words.size else None


FEATURE = Words()
