"""Word embeddings of the user, as they lie beside the clips."""

from contextlib import suppress

import numpy as np
import pytest

from emotion.inputs.words import TextError, read_word_embeddings


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"words": np.ones((2, 3))}, "no array named word_embed"),
        ({"word_embed": np.ones(3)}, r"shape \(3,\)"),
        ({"word_embed": np.array([["a", "b"]])}, "not numbers"),
        ({"word_embed": np.array([[1.0, np.nan]])}, "not finite"),
        ({"word_embed": np.array([[1e300, 0.0]])}, "not finite"),
    ],
    ids=["other name", "one axis", "letters", "nan", "overflow"],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_unusable_word_embeddings_are_refused_with_the_reason(tmp_path, arrays, reason):
    np.savez(tmp_path / "7.npz", **arrays)
    with pytest.raises(TextError, match=reason):
        read_word_embeddings(tmp_path / "7.npz")


def test_word_embeddings_become_float32_and_no_words_none(tmp_path):
    np.savez_compressed(tmp_path / "7.npz", word_embed=np.arange(6).reshape(2, 3))
    words = read_word_embeddings(tmp_path / "7.npz")
    assert words.dtype == np.float32
    np.testing.assert_array_equal(words, [[0, 1, 2], [3, 4, 5]])
    np.savez(tmp_path / "8.npz", word_embed=np.zeros((0, 200)))
    assert read_word_embeddings(tmp_path / "8.npz") is None


def test_damage_anywhere_in_word_embeddings_is_found_or_harmless(tmp_path):
    path = tmp_path / "7.npz"
    np.savez_compressed(path, word_embed=np.random.default_rng(0).random((5, 40)))
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with suppress(TextError):
            read_word_embeddings(path)
