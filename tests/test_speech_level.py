"""How loud a clip is: kept by preprocessing, given back to a model that knows the speaker."""

import csv

import numpy as np
import pytest

from emotion.data.dataset import FeatureDataset
from emotion.data.examples import load_examples
from emotion.errors import UserError
from emotion.inputs.audio import at_its_level
from emotion.inputs.store import FeatureStore
from tests.features import make_features
from tests.recipes import recipe_of
from tests.test_speakers import norms_of

FLAT = recipe_of("speech", speech_frames=64)
LEVEL = recipe_of("speech", speech_frames=64, normalise="speaker")


@pytest.fixture
def store(tmp_path):
    return make_features(tmp_path, clips={"train": 6}, speakers=2)


def samples(store, recipe):
    examples = load_examples(store, "train", store.read_description()["class_names"])
    dataset = FeatureDataset(store, examples, recipe)
    return [dataset[0, index].steps["speech"].values.T for index in range(len(dataset))], examples


def test_speaker_norms_are_of_spectrograms_at_the_level_that_the_manifest_names(store):
    flat, examples = samples(store, FLAT)
    first = [
        at_its_level(values, example.record.fact("peak_db"))
        for values, example in zip(flat, examples, strict=True)
        if example.record.speaker == "00"
    ]
    mean, _ = norms_of(store).statistics["00"]
    np.testing.assert_allclose(mean, np.concatenate(first, axis=1).mean(axis=1), rtol=1e-5)


def test_features_that_do_not_know_are_named_with_the_mend(store):
    path = store.root / "train" / "manifest.csv"
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    column = header.index("peak_db")
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(row[:column] + row[column + 1 :] for row in (header, *rows))
    assert len(samples(FeatureStore(store.root), FLAT)[0]) == 6  # older features are still read
    with pytest.raises(UserError, match=r"train000: .*peak_db.*--features_dir.*--normalise"):
        samples(FeatureStore(store.root), LEVEL)
