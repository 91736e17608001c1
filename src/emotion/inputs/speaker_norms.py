"""Speech normalised by speaker: against the mean and spread of every band over one voice."""

from collections import defaultdict

import numpy as np

from emotion.clock import N_MELS
from emotion.errors import UserError
from emotion.inputs.audio import at_its_level
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.records import Record

LEAST_DEVIATION = 0.01  # of the 0 to 1 of a log-mel: 0.8 dB


class SpeakerNorms:
    """Mean and standard deviation of each mel band over all clips of a speaker, of every split.

    No label is read, but clips of the speaker other than the one in hand are: scores with it are
    those of someone who knows whose voice it is and has heard more of it.
    """

    def __init__(self, store: FeatureStore, level: bool = False) -> None:
        """Read every clip's speech once; with ``level`` at the level of the recording.

        Raises:
            UserError: a clip has no speaker, or its file is missing or damaged.
        """
        sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((3, N_MELS)))
        for split in store.splits():
            for record in store.read_manifest(split):
                if not record.speaker:
                    raise UserError(
                        f"{store.root / split / 'manifest.csv'}: names no speaker for "
                        f"{record.stem}; leave out --speech_norm speaker"
                    )
                if record.state("speech") == "ok":
                    values = StoredClip(store, split, record).read("speech").astype(np.float32)
                    if level:
                        values = at_its_level(values, level_of(record))
                    values = values.astype(np.float64)
                    sums[record.speaker] += [
                        np.full(N_MELS, values.shape[1]),
                        values.sum(axis=1),
                        np.square(values).sum(axis=1),
                    ]
        self.statistics = {speaker: _moments(*of) for speaker, of in sums.items()}

    def apply(self, log_mel: np.ndarray, speaker: str) -> np.ndarray:
        """float32 (128, T) in standard deviations from the speaker's mean of each band."""
        mean, deviation = self.statistics[speaker]
        return ((log_mel - mean[:, None]) / deviation[:, None]).astype(np.float32)


def level_of(record: Record) -> float:
    """What the scaling of a clip's spectrogram took away, in dB.

    Raises:
        UserError: its features are from before it was kept.
    """
    if record.facts.get("peak_db") is None:
        raise UserError(
            f"{record.stem}: its features do not say how loud it was (peak_db in manifest.csv); "
            "run preprocess.py into another --features_dir, or leave out --speech_level True"
        )
    return record.fact("peak_db")


def _moments(
    frames: np.ndarray, total: np.ndarray, squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    mean = total / frames
    variance = np.maximum(squares / frames - np.square(mean), 0.0)
    return mean, np.maximum(np.sqrt(variance), LEAST_DEVIATION)
