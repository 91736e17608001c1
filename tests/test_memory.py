"""Features that a run keeps in memory once they were read."""

import numpy as np
import pytest

from emotion.corpora.qia2020 import EMOTIONS
from emotion.data.dataset import FeatureDataset
from emotion.data.examples import load_examples
from emotion.inputs.memory import Memory
from emotion.inputs.vectors import without_times
from tests.features import make_features
from tests.recipes import recipe_of

BYTES = np.zeros((4, 8), np.float32)  # of values; times and found come on top


def counted(reads, value):
    def load():
        reads.append(value)
        return without_times(np.full_like(BYTES, value))

    return load


def test_what_fits_is_read_once_and_the_rest_every_time():
    one = counted([], 1.0)()
    memory, reads = Memory(sum(part.nbytes for part in one) + 1), []
    for _ in range(3):
        assert memory.read("one", counted(reads, 1.0)).values[0, 0] == 1.0
        assert memory.read("two", counted(reads, 2.0)).values[0, 0] == 2.0
    assert reads == [1.0, 2.0, 2.0, 2.0]


def test_nobody_can_change_what_others_get():
    kept = Memory(1 << 20).read("one", counted([], 1.0))
    with pytest.raises(ValueError, match="read-only"):
        kept.values[0] = 0.0


def test_the_processes_of_a_run_share_the_budget():
    alone, beside = Memory.of_run(0).left, Memory.of_run(8).left
    assert 0 < 4 * beside < alone


@pytest.mark.parametrize("training", [False, True])
def test_a_clip_is_read_from_disk_once(tmp_path, training):
    store = make_features(tmp_path, clips={"train": 6}, modalities=("text",))
    examples, recipe = load_examples(store, "train", EMOTIONS), recipe_of("text", text_dim=12)
    plain = FeatureDataset(store, examples, recipe, training)
    wanted = [plain[0, index].steps["text"].values for index in range(6)]
    kept = FeatureDataset(store, examples, recipe, training, memory=Memory(1 << 20))
    for _ in range(2):
        for index in range(6):
            np.testing.assert_array_equal(kept[0, index].steps["text"].values, wanted[index])
        for path in store.root.glob("train/text/*"):
            path.write_bytes(b"")
