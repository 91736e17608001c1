"""Features on disk to batches of tensors, padded and masked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from emotion.data.examples import TARGETS, Example
from emotion.data.faults import Ledger
from emotion.data.speakers import SpeakerNorms, level_of
from emotion.data.transforms import (
    SpeechAugmentation,
    SpeechCrop,
    jittered_rows,
    padded_length,
    random_crop,
    rows_within,
    spread_rows,
)
from emotion.errors import UserError
from emotion.inputs.audio import FRAME_SECONDS, N_MELS, at_its_level
from emotion.inputs.face_track import EMBEDDING_SIZE, FaceTrack
from emotion.inputs.store import AGAIN, FeatureStore, Record
from emotion.records import Batch

MAX_WORDS = 200
MAX_EMBEDDINGS = 256  # face frames of one clip: 33 s; a longer one is read at evenly spread times


@dataclass(frozen=True)
class Inputs:
    """What a model reads."""

    speech: bool = False
    face: str = ""  # "", "embedding" or "video" (crops)
    text: bool = False
    speech_frames: int = 256  # frames of a training crop, to which shorter clips are padded
    speech_norm: str = "none"  # or "speaker"
    speech_level: bool = False  # spectrograms at the level of the recording
    face_frames: int = 16  # crops a clip
    face_size: int = 112  # pixels
    text_dim: int = 200

    @property
    def by_speaker(self) -> bool:
        """Whether speech is normalised by speaker."""
        return self.speech and self.speech_norm == "speaker"

    def usable(self, record: Record) -> bool:
        """Whether a clip has anything of what is read."""
        wanted = [("speech", self.speech), (self.face, self.face), ("text", self.text)]
        return any(record.state(modality) == "ok" for modality, on in wanted if on)


class Sample(NamedTuple):
    """One clip's arrays; None for a modality that the model does not read."""

    id: str
    targets: tuple[int, int, int]  # integrated, face, speech; -1 unlabelled
    speech: np.ndarray | None  # float32 (128, frames)
    speech_present: bool
    face: np.ndarray | None  # float16 (F, 512) or uint8 (F, 3, S, S)
    face_mask: np.ndarray | None
    face_time: np.ndarray | None
    text: np.ndarray | None  # float32 (W, D)


class Labelled(NamedTuple):
    """A batch with its labels and the clips' names, which stay on the host."""

    inputs: Batch
    targets: Tensor  # (B, 3) int64: integrated, face, speech; -1 unlabelled
    ids: list[str]


class FeatureDataset(Dataset):
    """Clips by key ``(epoch, index)``: with ``training`` the sample's randomness is drawn from
    (seed, epoch, index), so that it does not depend on workers or order.
    """

    def __init__(
        self,
        store: FeatureStore,
        examples: Sequence[Example],
        inputs: Inputs,
        training: bool = False,
        seed: int = 0,
        ledger: Ledger | None = None,
        norms: SpeakerNorms | None = None,
        brightness: float = 0.2,
    ) -> None:
        self.norms = norms  # wanted where ``inputs`` are by speaker
        self.ledger = ledger
        self.store = store
        self.examples = examples
        self.inputs = inputs
        self.training = training
        self.seed = seed
        self.augment = SpeechAugmentation(brightness) if training and inputs.speech else None

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Read and, in training, augment one clip.

        Raises:
            UserError: a file is missing or damaged.
        """
        epoch, index = key
        example = self.examples[index]
        if self.ledger:
            self.ledger.note(example.record.stem)
        generator = np.random.default_rng((self.seed, epoch, index)) if self.training else None
        crop = self._speech(example, generator) if self.inputs.speech else None
        face = self._face(example, crop, generator) if self.inputs.face else (None, None, None)
        return Sample(
            example.record.stem,
            tuple(getattr(example, name) for name in TARGETS),
            crop.values if crop else None,
            example.record.speech_state == "ok",
            *face,
            self._text(example) if self.inputs.text else None,
        )

    def length(self, index: int) -> int:
        """Width a clip's spectrogram is run at in evaluation, 0 where speech is not read."""
        frames = max(self.examples[index].record.frames, self.inputs.speech_frames)
        return padded_length(frames) if self.inputs.speech else 0

    def _speech(self, example: Example, generator: np.random.Generator | None) -> SpeechCrop:
        record = example.record
        if record.speech_state == "ok":
            values = self.store.read_array(example.split, "speech", record.stem).astype(np.float32)
            self._check(example, "speech", values.shape[0] == N_MELS and values.shape[1] > 0)
            if self.inputs.speech_level:
                values = at_its_level(values, level_of(record))
        else:  # no voice: zeros as long as the clip, so that the clock stays
            values = np.zeros((N_MELS, max(record.frames, 1)), np.float32)
        crop = SpeechCrop(0, values)
        if generator is not None:
            crop = random_crop(values, self.inputs.speech_frames, generator)
        if record.speech_state != "ok":
            return crop
        values = crop.values
        if generator is not None:
            values = self.augment(values, generator)
        if self.inputs.by_speaker:  # last, so that 0, which pads, is the speaker's mean
            values = self.norms.apply(values, record.speaker)
        return crop._replace(values=values)

    def _face(
        self, example: Example, crop: SpeechCrop | None, generator: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, mask and times of the face frames; times count from the speech crop's start."""
        record, kind = example.record, self.inputs.face
        if record.state(kind) != "ok":
            return self._no_face()
        start = record.start + (crop.first * FRAME_SECONDS if crop else 0.0)
        track = self.store.read_faces(example.split, record.stem) if kind == "video" else None
        if track is not None:
            time, found = track.time, track.found
        else:
            time, found = self.store.read_face_clock(example.split, record.stem)
        rows = np.arange(len(time))
        if crop is not None:
            rows = rows_within(time, start, crop.values.shape[1])
        rows = self._choose_rows(rows, generator, fixed=crop is not None)
        if track is None:
            embedding = self.store.read_array(example.split, "embedding", record.stem)
            self._check(example, "embedding", embedding.shape == (len(time), EMBEDDING_SIZE))
            values = embedding[rows]
        else:
            pictures = self._decode(example, track, rows)
            if generator is not None and generator.random() < 0.5:
                pictures = pictures[:, :, ::-1]
            values = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
        return values, found[rows], (time[rows] - start).astype(np.float32)

    def _choose_rows(
        self, rows: np.ndarray, generator: np.random.Generator | None, fixed: bool
    ) -> np.ndarray:
        """Temporal jitter in training; a fixed number of crops, a bounded one of embeddings."""
        if generator is not None and not fixed:
            rows = rows[jittered_rows(len(rows), generator)]
        if self.inputs.face == "video":
            return rows[spread_rows(len(rows), self.inputs.face_frames, generator)]
        if len(rows) > MAX_EMBEDDINGS:
            return rows[spread_rows(len(rows), MAX_EMBEDDINGS, generator)]
        return rows

    def _no_face(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = self.inputs.face_size
        count = self.inputs.face_frames if self.inputs.face == "video" else 1
        shape = (3, size, size) if self.inputs.face == "video" else (EMBEDDING_SIZE,)
        kind = np.uint8 if self.inputs.face == "video" else np.float16
        return (
            np.zeros((count, *shape), kind),
            np.zeros(count, bool),
            np.zeros(count, np.float32),
        )

    def _text(self, example: Example) -> np.ndarray:
        if example.record.text_state != "ok":
            return np.zeros((0, self.inputs.text_dim), np.float32)
        words = self.store.read_text(example.split, example.record.id)[:MAX_WORDS]
        self._check(example, "text", words.shape[1] == self.inputs.text_dim)
        return words

    def _decode(self, example: Example, track: FaceTrack, rows: np.ndarray) -> np.ndarray:
        try:
            return track.decode(rows, self.inputs.face_size)
        except ValueError:
            self._check(example, "video", False)
            raise

    def _check(self, example: Example, modality: str, fits: bool) -> None:
        """Refuse a feature that is not of the shape that its record and the others have."""
        if not fits:
            name = example.record.id if modality == "text" else example.record.stem
            path = self.store.path(example.split, modality, name)
            raise UserError(f"{path}: damaged, or of other features than the rest; {AGAIN}")


def collate(samples: Sequence[Sample]) -> Labelled:
    """Pad samples to their longest; spectrograms to its multiple of 32, with zeros (the floor)."""
    fields: dict[str, Tensor] = {}
    if samples[0].speech is not None:
        frames = [sample.speech.shape[1] for sample in samples]
        speech = np.zeros((len(samples), N_MELS, padded_length(max(frames))), np.float32)
        for row, sample in zip(speech, samples, strict=True):
            row[:, : sample.speech.shape[1]] = sample.speech
        fields["speech"] = torch.from_numpy(speech)
        fields["speech_frames"] = torch.tensor(frames)
        fields["speech_present"] = torch.tensor([sample.speech_present for sample in samples])
    if samples[0].face is not None:
        fields["face"] = _stack([sample.face for sample in samples])
        if fields["face"].dtype == torch.float16:
            fields["face"] = fields["face"].float()
        fields["face_mask"] = _stack([sample.face_mask for sample in samples])
        fields["face_time"] = _stack([sample.face_time for sample in samples])
    if samples[0].text is not None:
        fields["text"] = _stack([sample.text for sample in samples])
        fields["text_mask"] = _stack([np.ones(len(sample.text), bool) for sample in samples])
    targets = torch.tensor([sample.targets for sample in samples])
    return Labelled(Batch(**fields), targets, [sample.id for sample in samples])


def _stack(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays (n, ...) of unequal n to (B, longest, ...), zeros (False) after the end of each."""
    longest = max(1, *(len(array) for array in arrays))
    result = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(result, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(result)
