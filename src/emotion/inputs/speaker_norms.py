"""Features normalised by speaker: against the mean and spread of each value over one person."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from emotion.errors import UserError
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.records import ClipFeatures

NO_SPREAD = 1e-6  # a value that never changes has none


class SpeakerNorms:
    """Mean and standard deviation of each value of a step over all clips of a speaker, of every
    split.

    No label is read, but clips of the speaker other than the one in hand are (transductive): scores
    with it are those of someone who knows whose clip it is and has met more of that person, in
    whatever mixture of classes the corpus has.
    """

    def __init__(
        self,
        store: FeatureStore,
        feature: str,
        values_of: Callable[[ClipFeatures], np.ndarray],
        least: float = NO_SPREAD,
    ) -> None:
        """Read that feature of every clip once.

        Args:
            store: the features.
            feature: its name.
            values_of: steps (N, ...) of a clip that has it.
            least: standard deviation; a smaller one is taken for this.

        Raises:
            UserError: a clip has no speaker, or its file is missing or damaged.
        """
        sums: dict[str, list] = defaultdict(lambda: [0, 0.0, 0.0])
        for split in store.splits():
            for record in store.read_manifest(split):
                if not record.speaker:
                    raise UserError(
                        f"{store.root / split / 'manifest.csv'}: names no speaker for "
                        f"{record.stem}; leave out --normalise speaker"
                    )
                if record.state(feature) == "ok":
                    values = values_of(StoredClip(store, split, record)).astype(np.float64)
                    of = sums[record.speaker]
                    of[0] += len(values)
                    of[1] = of[1] + values.sum(axis=0)
                    of[2] = of[2] + np.square(values).sum(axis=0)
        self.statistics = {speaker: _moments(*of, least) for speaker, of in sums.items()}

    def apply(self, values: np.ndarray, speaker: str) -> np.ndarray:
        """float32 (N, ...) in standard deviations from the speaker's mean of each value."""
        mean, deviation = self.statistics[speaker]
        return ((values - mean) / deviation).astype(np.float32)


def _moments(
    count: int, total: np.ndarray, squares: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    mean = total / count
    variance = np.maximum(squares / count - np.square(mean), 0.0)
    return mean, np.maximum(np.sqrt(variance), least)
