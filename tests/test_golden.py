"""A checkpoint stored in the repository: what it answered once it answers still."""

import json

import numpy as np
import pytest
import torch

from emotion.errors import UserError
from emotion.models.checkpoint import load_checkpoint
from emotion.paths import HOME
from tests.golden_runs import RUNS, STORED, golden_features, golden_run
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


@pytest.mark.parametrize("earlier", [1, 2])
def test_a_checkpoint_of_an_earlier_version_is_refused_in_one_line(tmp_path, earlier):
    content = torch.load(GOLDEN / "text" / "golden" / "3_best_1.0000.pth", weights_only=True)
    content["format"] = earlier
    if earlier == 1:
        content["model_options"] = content.pop("recipe")
    torch.save(content, tmp_path / "3_best_1.0000.pth")
    with pytest.raises(UserError) as caught:
        load_checkpoint(tmp_path / "3_best_1.0000.pth")
    assert f"of format {earlier}, this program reads 3; train it again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("golden")


@pytest.mark.parametrize("name", RUNS)
def test_three_steps_of_every_mode_end_where_they_did(folder, name):
    found, stored = golden_run(name, folder), json.loads(STORED.read_text())[name]
    assert found["train_loss"] == pytest.approx(stored["train_loss"], rel=2e-3)
    deep = RUNS[name].get("face_model") == "resnet3d"  # 33 M weights: processors differ by 1 %
    assert found["valid_loss"] == pytest.approx(stored["valid_loss"], rel=2e-2 if deep else 5e-3)
    np.testing.assert_allclose(found["answers"], stored["answers"], atol=3e-2 if deep else 5e-3)


def test_the_features_of_a_film_are_what_they_were(folder):
    found, stored = golden_features(folder), json.loads(STORED.read_text())["features"]
    assert found["record"] == pytest.approx(stored["record"], abs=0.02)
    np.testing.assert_allclose(found["speech"], stored["speech"], atol=5e-3)
    np.testing.assert_allclose(found["boxes"], stored["boxes"], atol=0.5)
    np.testing.assert_allclose(found["crops"], stored["crops"], atol=0.5)
    assert found["words"] == stored["words"]
