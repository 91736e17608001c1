"""What is said in a clip that came without words: heard by a transcriber, or given to predict.py.

Kept as ``transcripts/<FileID>.json``; all of a split as ``transcripts.csv``, for people to read and
correct. What embeds the words is ``emotion.inputs.transcripts``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from emotion.command_line import flag
from emotion.errors import UserError
from emotion.inputs.feature import SOURCE, Absent, Feature, Window
from emotion.inputs.given_words import Given, given
from emotion.inputs.media import Media
from emotion.inputs.spoken import Spoken, describe, restore
from emotion.inputs.spoken_files import read_list, write_list
from emotion.records import Clip, ClipFeatures, Record

NAME = "text:transcript"
MEND = "correct it, or remove it and run preprocess.py again"


@dataclass(frozen=True)
class Extraction:
    """What hears words."""

    transcribe: str = flag(
        "",
        "hears the words of clips that have none, with their times: a Whisper, by folder "
        "(CTranslate2) or name, such as base (pip install -r requirements-words.txt)",
        "features",
    )
    language: str = flag("auto", "that is spoken, such as en or ko; auto hears which", "features")
    transcripts: tuple[str, ...] = ()  # predict.py's flag


class Ears:
    """Who says what is said: the transcripts that were given, else the transcriber."""

    def __init__(self, wanted: dict[str, Any] | None, found: Given, device: str) -> None:
        self.wanted = wanted
        self.given = found
        self.device = device

    def __call__(self, media: Media) -> Spoken:
        """The words of a clip.

        Raises:
            Absent: it has other words, or nobody to hear it, or no sound.
        """
        clip = media.clip
        if self.given.words is not None:
            said = self.given.words.get(clip.id, self.given.words.get(clip.stem))
            if said is not None:
                return said
        if clip.text is not None or clip.transcript:
            raise Absent("given")
        if self.given.words is not None or self.wanted is None or media.waveform is None:
            raise Absent("absent")
        return self.transcriber(media.waveform)

    @cached_property
    def transcriber(self) -> Any:
        """The network, opened when first wanted."""
        from emotion.frozen.transcriber import Transcriber  # takes a package that may be missing

        source = self.given.transcriber or self.wanted[SOURCE]
        try:
            heard = Transcriber(source, self.wanted["language"], self.device)
        except UserError as error:
            raise UserError(f"{error}; where it has moved, --transcripts FOLDER") from error
        if heard.fingerprint != self.wanted["fingerprint"]:
            raise UserError(
                f"{source}: is not the transcriber of the training (fingerprint "
                f"{self.wanted['fingerprint']}, this one has {heard.fingerprint}); give that one: "
                "--transcripts FOLDER"
            )
        return heard


class Transcription(Feature):
    """See the module."""

    name, folder, suffix = NAME, "transcripts", ".json"
    by_id = True
    settings = (NAME,)
    table = "transcripts.csv"
    reasons = {
        "absent": "has no sound to transcribe",
        "given": "has words of its own",
        "failed": "has no readable audio",
    }

    def describe(self, options: Extraction) -> dict[str, Any]:
        """The transcriber, where one is named."""
        if not options.transcribe:
            if options.language != Extraction.language:
                raise UserError("--language is the transcriber's; give --transcribe too")
            return {}
        from emotion.frozen import transcriber

        heard = transcriber.Transcriber(options.transcribe, options.language)
        return {
            NAME: {
                SOURCE: options.transcribe,
                "fingerprint": heard.fingerprint,
                "language": options.language,
                "voice": transcriber.VOICE,
            }
        }

    def is_made(self, settings: dict[str, Any]) -> bool:
        """Where a transcriber was named."""
        return settings.get(NAME) is not None

    def open(self, settings: dict[str, Any], options: Extraction, device: str) -> Ears:
        """The transcriber of the settings, or what was given in its place."""
        return Ears(settings.get(NAME), given(tuple(options.transcripts)), device)

    def extract(self, media: Media, settings: dict[str, Any], tools: Ears) -> Spoken:
        """The words; none where there is sound, but nobody speaks.

        Raises:
            Absent: there is no sound, or there are words of its own.
        """
        return tools(media)

    def cut(self, value: Spoken, window: Window) -> Spoken:
        """The words of a window."""
        if value.words and not value.timed:
            raise Absent("untimed")
        return value.within(window)

    def write(self, file: BinaryIO, value: Spoken) -> None:
        """JSON."""
        file.write(json.dumps(describe(value), ensure_ascii=False).encode())

    def read(self, path: Path, clip: ClipFeatures) -> Spoken:
        """Back from JSON."""
        return restore(json.loads(path.read_text("utf-8")))

    def write_list(self, store: Any, split: str, records: Sequence[Record]) -> None:
        """``transcripts.csv``: a row for each clip that was heard. What a person has corrected
        stays until it is embedded; so do rows of clips that are gone.
        """
        path = store.root / split / self.table
        heard = {r.id for r in records if r.state(NAME) == "ok"}
        if not heard and not path.is_file():
            return
        rows = corrections(store, split)
        for record in records:
            row = rows.get(record.id)
            if record.id in heard and (row is None or row.pending):
                spoken = self.read(store.path(split, NAME, record.stem, record.id), None)
                text = spoken.text if row is None else row.text
                rows[record.id] = Row(text, spoken)
        write_list(path, [(name, *row) for name, row in rows.items()], within=store.root)


class Row(NamedTuple):
    """A line of ``transcripts.csv``."""

    text: str  # what counts
    spoken: Spoken  # what is embedded, or would be

    @property
    def pending(self) -> bool:
        """Whether a person has corrected it since."""
        return self.text != self.spoken.text


def corrections(store: Any, split: str) -> dict[str, Row]:
    """``transcripts.csv`` by FileID; nothing where there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = store.root / split / Transcription.table
    if not path.is_file():
        return {}
    return {name: Row(*row) for name, row in read_list(path, MEND).items()}


def is_heard(clip: Clip, record: Record) -> bool:
    """Whether a transcriber has listened to a clip, which has no other words."""
    return record.state(NAME) == "ok" and not (clip.text or clip.transcript)


FEATURE = Transcription()
