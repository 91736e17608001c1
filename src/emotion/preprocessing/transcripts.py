"""Transcripts to word embeddings, many at a time: a stage of its own, after the media."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from emotion.corpora import Clip, Corpus
from emotion.errors import UserError
from emotion.frozen.text_encoder import TextEncoder
from emotion.frozen.word_vectors import WordVectors
from emotion.inputs.store import FeatureStore
from emotion.preprocessing.journal import Outcome

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


def open_embedder(text_encoder: str, text_layers: int, word_vectors: str) -> WordEmbedder | None:
    """What the flags ask for, or None.

    Raises:
        UserError: both are given, or what is given cannot be used.
    """
    if text_encoder and word_vectors:
        raise UserError("--text_encoder and --word_vectors: give one of them")
    if text_encoder:
        return TextEncoder(text_encoder, text_layers)
    return WordVectors(Path(word_vectors)) if word_vectors else None


def clean(transcript: str) -> str:
    """One line, with the typewriter's quotes, dashes and dots."""
    return re.sub(r"\s+", " ", transcript.translate(PLAIN_MARKS)).strip()


def find_pending(corpus: Corpus, known: dict[tuple[str, str], Outcome]) -> list[Clip]:
    """The clips whose transcript is still to be embedded, short ones first.

    A batch of like lengths has little padding.
    """
    pending = [
        clip
        for clip in corpus.clips
        if clip.transcript and known[clip.split, clip.stem].record.text_state == "absent"
    ]
    return sorted(pending, key=lambda clip: len(clip.transcript))


def embed_transcripts(
    clips: list[Clip],
    known: dict[tuple[str, str], Outcome],
    embedder: WordEmbedder,
    store: FeatureStore,
) -> Iterator[Outcome]:
    """Embed and store; yields what is then known of each clip."""
    if clips:
        embedder.prepare(clean(clip.transcript) for clip in clips)
    for first in range(0, len(clips), BATCH_SIZE):
        batch = clips[first : first + BATCH_SIZE]
        embedded = embedder.embed([clean(clip.transcript) for clip in batch])
        for clip, words in zip(batch, embedded, strict=True):
            outcome = known[clip.split, clip.stem]
            if len(words):
                store.write_text(clip.split, clip.id, words)
            state = "ok" if len(words) else "empty"
            record = outcome.record._replace(text_state=state, words=len(words))
            yield outcome._replace(record=record)
