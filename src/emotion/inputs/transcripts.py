"""Transcripts to word embeddings, many at a time: a stage of its own, after the media."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from emotion.errors import UserError
from emotion.frozen.source import TEXT_ENCODER, whole_numbers
from emotion.frozen.word_vectors import WordVectors, tokenise
from emotion.inputs import transcription
from emotion.inputs.feature import SOURCE
from emotion.inputs.spoken import Spoken, clean, spoken_of
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.inputs.transcription import Row, corrections, is_heard
from emotion.inputs.vectors import Vectors, without_times
from emotion.lazy import Lazy
from emotion.records import Clip, Corpus, Record
from emotion.telling import note

text_encoders = Lazy("emotion.frozen.text_encoder")  # takes torch along

BATCH_SIZE = 64
EMBEDDER = "text:embedder"  # in features.json: where it is, which its name does not say
# files of encoders: what reads text has the first, what hears or sees has the second
TOKENISER, PREPROCESSOR = "tokenizer.json", "preprocessor_config.json"
CONTEXT = "context"  # of it: how many transcripts before a clip are read with its own


class WordEmbedder(Protocol):
    """What turns transcripts into vectors, and its name for features.json."""

    name: str

    def prepare(self, transcripts: Iterable[str]) -> None:
        """Be told of all transcripts before the first is embedded."""

    def embed(
        self, transcripts: Sequence[str], past: Sequence[Sequence[str]] = ()
    ) -> list[np.ndarray]:
        """float32 (W, D) of each transcript; ``past``: what was said before each, which may make
        them wider.
        """

    def spans(self, transcripts: Sequence[str]) -> list[np.ndarray]:
        """Where each of these W stands in its transcript, int (W, 2)."""


def open_embedder(text_encoder: str, word_vectors: str, device: str = "") -> WordEmbedder | None:
    """What the flags ask for, or None.

    Raises:
        UserError: both are given, or what is given cannot be used.
    """
    if text_encoder and word_vectors:
        raise UserError("--text_encoder and --word_vectors: give one of them")
    if text_encoder:
        place, layers = whole_numbers(TEXT_ENCODER, text_encoder)
        return text_encoders.TextEncoder(place, max(layers, default=1), device)
    return WordVectors(Path(word_vectors)) if word_vectors else None


class Transcripts:
    """Embeds the transcripts of clips; see ``Afterwards``."""

    def __init__(
        self, embedder: WordEmbedder, store: FeatureStore, described: dict[str, Any]
    ) -> None:
        self.embedder = embedder
        self.store = store
        self.context = described.get(CONTEXT, 0)
        self.settings = {"text": _name(embedder, self.context), EMBEDDER: described}
        self._rows = cache(lambda split: corrections(store, split))

    def pending(self, corpus: Corpus, known: dict[tuple[str, str], Record]) -> list[Clip]:
        """Those without embedded words, and those whose line in ``transcripts.csv`` a person has
        corrected since.
        """
        return [clip for clip in corpus.clips if self._waits(clip, known[clip.split, clip.stem])]

    def work(
        self, clips: list[Clip], known: dict[tuple[str, str], Record]
    ) -> Iterator[tuple[Clip, Record]]:
        """Embed and store; yields what is then known of each clip."""
        spoken = {id(clip): self._spoken(clip, known[clip.split, clip.stem]) for clip in clips}
        if clips:
            self.embedder.prepare(said.text for said in spoken.values())
        past = {id(clip): before(clip, self.context) if self.context else [] for clip in clips}

        def letters(clip: Clip) -> int:
            return sum(map(len, [spoken[id(clip)].text, *past[id(clip)]]))

        clips = sorted(clips, key=letters)  # a batch of like lengths has little padding
        for first in range(0, len(clips), BATCH_SIZE):
            batch = clips[first : first + BATCH_SIZE]
            said = [spoken[id(clip)] for clip in batch]
            read = [past[id(clip)] for clip in batch] if self.context else ()
            embedded = embed(self.embedder, said, read)
            for clip, words in zip(batch, embedded, strict=True):
                record = known[clip.split, clip.stem]
                yield clip, self._store(clip, words, spoken[id(clip)], record)

    def _waits(self, clip: Clip, record: Record) -> bool:
        heard = is_heard(clip, record)
        if record.state("text") == "absent":
            return heard or bool(clip.transcript)
        return heard and self._row(clip).pending

    def _row(self, clip: Clip) -> Row:
        return self._rows(clip.split).get(clip.id, Row("", Spoken()))

    def _spoken(self, clip: Clip, record: Record) -> Spoken:
        """What is said in a clip, as a person has corrected it."""
        if not is_heard(clip, record):
            return spoken_of(clip.transcript)
        heard = self._heard(clip, record)
        row = self._rows(clip.split).get(clip.id)
        same = row is None or row.text == heard.text
        return heard if same else heard.corrected(row.text)

    def _heard(self, clip: Clip, record: Record) -> Spoken:
        """What is stored: it may have been heard again since it was corrected."""
        return StoredClip(self.store, clip.split, record).read(transcription.NAME)

    def _store(self, clip: Clip, words: Vectors, spoken: Spoken, record: Record) -> Record:
        count = len(words.values)
        if count:
            self.store.write(clip.split, "text", clip.stem, words, clip.id)
        # last: until then it is to be done
        if is_heard(clip, record) and spoken.text != self._heard(clip, record).text:
            self.store.write(clip.split, transcription.NAME, clip.stem, spoken, clip.id)
        return record._replace(
            states=record.states | {"text": "ok" if count else "empty"},
            facts=record.facts | {"words": count},
        )


def before(clip: Clip, context: int) -> list[str]:
    """The last ``context`` transcripts before a clip in its dialogue; fewer where it begins."""
    return [clean(said) for said in clip.past[-context:]]


def _name(embedder: WordEmbedder, context: int) -> str:
    """What features.json calls embedded words: those that have looked back are others."""
    return f"{embedder.name} context {context}" if context else embedder.name


def embed(
    embedder: WordEmbedder, spoken: Sequence[Spoken], past: Sequence[Sequence[str]] = ()
) -> list[Vectors]:
    """The words of transcripts; sub-words, and words that a tokeniser splits, have the time of the
    word that they are of.

    Args:
        embedder: of words.
        spoken: what is said in each clip.
        past: what was said before each; nothing without.
    """
    texts = [said.text for said in spoken]
    vectors = [without_times(values) for values in embedder.embed(texts, past)]
    timed = [row for row, said in enumerate(spoken) if said.timed]
    for row, spans in zip(timed, embedder.spans([texts[row] for row in timed]), strict=True):
        vectors[row] = vectors[row]._replace(time=spoken[row].times(spans))
    return vectors


class Embedding:
    """Embeds one transcript after another, as the features of a training were made.

    Args:
        settings: of features.json.
        source: where the encoder or the vectors are now; where they were then without.

    Raises:
        UserError: they are not there, or are others.
    """

    def __init__(self, settings: dict[str, Any], source: str = "") -> None:
        described = settings[EMBEDDER]
        flag, layers = described["flag"], described["layers"]
        place = source or described[SOURCE]
        wanted = f"{place}:{layers}" if layers > 1 else place
        given = {"text_encoder": "", "word_vectors": "", flag: wanted}
        try:
            self.embedder = open_embedder(**given, device="cpu")
        except UserError as error:
            raise UserError(f"{error}; where it has moved, --transcripts PATH") from error
        self.context = described.get(CONTEXT, 0)
        name = _name(self.embedder, self.context)
        if name.partition("@")[2] != settings["text"].partition("@")[2]:
            raise UserError(
                f"{given[flag]}: is not what embedded the words of the training "
                f"({settings['text']}, this is {name}); give that: --transcripts PATH"
            )

    def __call__(self, spoken: Spoken, whole: Spoken | None, clip: Clip) -> Vectors:
        """The words of a transcript.

        Args:
            spoken: what is said.
            whole: of the recording that it is a part of, where it is.
            clip: whose dialogue is known, where there is one.
        """
        if isinstance(self.embedder, WordVectors):
            self.embedder.learn(tokenise((whole or spoken).text))
        past = [before(clip, self.context)] if self.context else ()
        return embed(self.embedder, [spoken], past)[0]


def moved_to(settings: dict[str, Any], encoders: Sequence[str]) -> str:
    """Which of ``--encoders`` embeds the words: that of the name it had in training, or else one
    that reads text and neither hears nor sees; nothing where there is none.
    """
    name = Path(settings[EMBEDDER][SOURCE]).name
    named = [path for path in encoders if Path(path).name == name]
    reads = [p for p in map(Path, encoders) if (p / TOKENISER).is_file()]
    others = [str(path) for path in reads if not (path / PREPROCESSOR).is_file()]
    return next(iter([*named, *others]), "")


def transcripts_of(
    corpus: Corpus,
    store: FeatureStore,
    flags: dict[str, Any],
    context: int,
    transcribed: bool,
) -> Transcripts | None:
    """What the flags ask for; a note where a corpus has transcripts and the flags say nothing.

    Args:
        corpus: all clips.
        store: where their features go.
        flags: of ``open_embedder``.
        context: how many transcripts before a clip its words look back at.
        transcribed: whether clips are transcribed now.

    Raises:
        UserError: both are given, or what is given cannot be used, or there are no transcripts, or
            no dialogues to look back in.
    """
    _check_context(corpus, flags, context, transcribed)
    embedder = open_embedder(**flags)
    transcripts = sum(bool(clip.transcript) for clip in corpus.clips)
    if embedder and not (transcripts or transcribed or _were_heard(corpus, store)):
        raise UserError(
            f"{corpus.name}: has no transcripts; leave out --text_encoder and --word_vectors, or "
            "give --transcribe"
        )
    if (transcripts or transcribed) and not embedder:
        note(
            f"{transcripts or 'the'} transcripts are left as they are; --text_encoder or "
            "--word_vectors embeds them, now or later"
        )
    if embedder is None:
        return None
    looks_back = {CONTEXT: context} if context else {}  # older features know none
    return Transcripts(embedder, store, _described(**flags) | looks_back)


def _check_context(corpus: Corpus, flags: dict[str, Any], context: int, transcribed: bool) -> None:
    if not context:
        return
    called = f"--text_context {context}"
    if not flags["text_encoder"]:
        raise UserError(
            f"{called}: only an encoder reads a word in its context; give --text_encoder, or leave "
            "it out"
        )
    if transcribed:
        raise UserError(
            f"{called}: looks back at transcripts that a corpus brings, and not at those that are "
            "heard; leave out --transcribe"
        )
    if not any(clip.past for clip in corpus.clips):
        raise UserError(
            f"{called}: {corpus.name} knows no dialogues; leave it out, or give a table with the "
            "column dialogue"
        )


def _described(text_encoder: str, word_vectors: str) -> dict[str, Any]:
    """What ``Embedding`` opens again."""
    if word_vectors:
        return {SOURCE: word_vectors, "flag": "word_vectors", "layers": 1}
    place, layers = whole_numbers(TEXT_ENCODER, text_encoder)
    return {SOURCE: place, "flag": "text_encoder", "layers": max(layers, default=1)}


def _were_heard(corpus: Corpus, store: FeatureStore) -> bool:
    folder = transcription.FEATURE.folder
    return any((store.root / split / folder).is_dir() for split in {c.split for c in corpus.clips})


__all__ = ["BATCH_SIZE", "Embedding", "Transcripts", "clean", "embed", "transcripts_of"]
