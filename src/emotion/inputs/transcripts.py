"""Transcripts to word embeddings, many at a time: a stage of its own, after the media."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from emotion.errors import UserError
from emotion.frozen.source import TEXT_ENCODER, whole_numbers
from emotion.frozen.word_vectors import WordVectors
from emotion.inputs.store import FeatureStore
from emotion.inputs.vectors import without_times
from emotion.lazy import Lazy
from emotion.records import Clip, Corpus, Record
from emotion.telling import note

text_encoders = Lazy("emotion.frozen.text_encoder")  # takes torch along

BATCH_SIZE = 64
# Vocabularies know the marks of a typewriter; subtitles have those of a printer.
PLAIN_MARKS = {
    0x2018: "'",
    0x2019: "'",
    0x201C: '"',
    0x201D: '"',
    0x2013: "-",
    0x2014: "-",
    0x2026: "...",
}


class WordEmbedder(Protocol):
    """What turns transcripts into vectors, and its name for features.json."""

    name: str

    def prepare(self, transcripts: Iterable[str]) -> None:
        """Be told of all transcripts before the first is embedded."""

    def embed(self, transcripts: Sequence[str]) -> list[np.ndarray]:
        """float32 (W, D) of each transcript."""


def open_embedder(text_encoder: str, word_vectors: str) -> WordEmbedder | None:
    """What the flags ask for, or None.

    Raises:
        UserError: both are given, or what is given cannot be used.
    """
    if text_encoder and word_vectors:
        raise UserError("--text_encoder and --word_vectors: give one of them")
    if text_encoder:
        place, layers = whole_numbers(TEXT_ENCODER, text_encoder)
        return text_encoders.TextEncoder(place, max(layers, default=1))
    return WordVectors(Path(word_vectors)) if word_vectors else None


def clean(transcript: str) -> str:
    """One line, with the typewriter's quotes, dashes and dots."""
    return re.sub(r"\s+", " ", transcript.translate(PLAIN_MARKS)).strip()


class Transcripts:
    """Embeds the transcripts of clips; see ``Afterwards``."""

    def __init__(self, embedder: WordEmbedder, store: FeatureStore) -> None:
        self.embedder = embedder
        self.store = store
        self.settings = {"text": embedder.name}

    def pending(self, corpus: Corpus, known: dict[tuple[str, str], Record]) -> list[Clip]:
        """Short ones first: a batch of like lengths has little padding."""
        pending = [
            clip
            for clip in corpus.clips
            if clip.transcript and known[clip.split, clip.stem].state("text") == "absent"
        ]
        return sorted(pending, key=lambda clip: len(clip.transcript))

    def work(
        self, clips: list[Clip], known: dict[tuple[str, str], Record]
    ) -> Iterator[tuple[Clip, Record]]:
        """Embed and store; yields what is then known of each clip."""
        if clips:
            self.embedder.prepare(clean(clip.transcript) for clip in clips)
        for first in range(0, len(clips), BATCH_SIZE):
            batch = clips[first : first + BATCH_SIZE]
            embedded = self.embedder.embed([clean(clip.transcript) for clip in batch])
            for clip, words in zip(batch, embedded, strict=True):
                yield clip, self._store(clip, words, known[clip.split, clip.stem])

    def _store(self, clip: Clip, words: np.ndarray, record: Record) -> Record:
        if len(words):
            self.store.write(clip.split, "text", clip.stem, without_times(words), clip.id)
        state = "ok" if len(words) else "empty"
        return record._replace(
            states=record.states | {"text": state}, facts=record.facts | {"words": len(words)}
        )


def transcripts_of(
    corpus: Corpus, store: FeatureStore, text_encoder: str, word_vectors: str
) -> Transcripts | None:
    """What the flags ask for; a note where a corpus has transcripts and the flags say nothing.

    Raises:
        UserError: both are given, or what is given cannot be used, or there are no transcripts.
    """
    embedder = open_embedder(text_encoder, word_vectors)
    transcripts = sum(bool(clip.transcript) for clip in corpus.clips)
    if embedder and not transcripts:
        raise UserError(
            f"{corpus.name}: has no transcripts; leave out --text_encoder and --word_vectors"
        )
    if transcripts and not embedder:
        note(
            f"{transcripts} transcripts are left as they are; --text_encoder or "
            "--word_vectors embeds them, now or later"
        )
    return Transcripts(embedder, store) if embedder else None
