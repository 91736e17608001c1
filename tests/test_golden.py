"""A checkpoint stored in the repository: what it answered once it answers still."""

import numpy as np
import pytest

from src.paths import HOME
from tests.media import tone, write_clip
from tests.prediction import TEXT_DIM, answers_of, probabilities_of, rows_of

GOLDEN = HOME / "tests" / "golden"


def test_a_stored_checkpoint_still_gives_the_stored_answer(tmp_path):
    """A model of before, a clip made anew, and the probabilities they gave: nothing moved."""
    weights = GOLDEN / "text" / "golden" / "3_best_1.0000.pth"
    assert weights.stat().st_size < 200_000
    write_clip(tmp_path / "00042.wav", None, tone(0.5))
    words = np.sin(np.arange(5 * TEXT_DIM, dtype=np.float64)).reshape(5, TEXT_DIM)
    np.savez(tmp_path / "00042.npz", word_embed=words)
    flags = {"input": [str(tmp_path / "00042.wav")], "probabilities": True}
    (row,) = answers_of(weights, tmp_path, **flags)
    (stored,) = rows_of(GOLDEN / "answers.csv")
    assert row["Emotion"] == stored["Emotion"]
    assert probabilities_of(row) == pytest.approx(probabilities_of(stored), abs=1e-5)
