"""Files of word vectors: formats, spellings, what is kept, what is refused."""

import gzip

import numpy as np
import pytest

from emotion.errors import UserError
from emotion.frozen.word_vectors import WordVectors, tokenise

GLOVE = b"happy 1 0 0\nsad 0 1 0\n! 0 0 1\ndo 2 0 0\nn't 0 2 0\n"


def write(folder, content, name="vectors.txt"):
    path = folder / name
    path.write_bytes(content)
    return path


def rows(path, transcript, others=()):
    vectors = WordVectors(path)
    vectors.prepare([transcript, *others])
    (embedded,) = vectors.embed([transcript])
    return embedded


def test_words_keep_inner_apostrophes_and_marks_stand_alone():
    assert " ".join(tokenise("Don't! You-know, 'kay?")) == "Don't ! You - know , ' kay ?"


def test_each_word_with_a_vector_is_a_row_in_order(tmp_path):
    embedded = rows(write(tmp_path, GLOVE), "sad unheard happy!")
    assert embedded.dtype == np.float32
    np.testing.assert_array_equal(embedded, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_a_word_is_looked_up_as_written_before_in_small_letters(tmp_path):
    path = write(tmp_path, b"Happy 5 5\nhappy 1 0\nsad 0 1\n")
    np.testing.assert_array_equal(rows(path, "Happy happy SAD"), [[5, 5], [1, 0], [0, 1]])


def test_a_contraction_is_looked_up_in_its_parts(tmp_path):
    np.testing.assert_array_equal(rows(write(tmp_path, GLOVE), "Don't"), [[2, 0, 0], [0, 2, 0]])
    whole = write(tmp_path, b"don't 7 7 7\n" + GLOVE, "whole.txt")
    np.testing.assert_array_equal(rows(whole, "Don't"), [[7, 7, 7]])


@pytest.mark.parametrize(
    "content",
    [
        b"2 3\nhappy 1 0 0\nsad 0 1 0\n",  # word2vec
        b"2 3\nhappy 1 0 0 \nsad 0 1 0 \n",  # fastText ends its lines with a space
        b"happy 1 0 0\nsad 0 1 0\nsad 9 9 9\n",  # GloVe; the first of two counts
        b"happy 1 0 0\nsad 0 1 0",  # no newline at the end
        b"happy 1 0 0\nhappy days 9 9 9\nsad 0 1 0\n",  # a "word" with a space
        b"happy 1 0 0\n\xff\xfe 3 3 3\nsad 0 1 0\n",  # another word that is not UTF-8
    ],
    ids=["word2vec", "fasttext", "glove", "no newline", "space", "bytes"],
)
def test_the_three_text_formats_are_read(tmp_path, content):
    np.testing.assert_array_equal(rows(write(tmp_path, content), "happy sad"), np.eye(3)[:2])


def test_a_gzipped_file_is_read(tmp_path):
    path = write(tmp_path, gzip.compress(GLOVE), "vectors.vec.gz")
    np.testing.assert_array_equal(rows(path, "happy"), [[1, 0, 0]])


def test_only_the_words_in_use_are_kept(tmp_path):
    content = b"".join(b"word%d %d 1\n" % (number, number) for number in range(5000))
    vectors = WordVectors(write(tmp_path, content))
    vectors.prepare(["word7", "word4999 word7"])
    assert set(vectors.vectors) == {"word7", "word4999"}


def test_a_transcript_without_known_words_has_no_rows(tmp_path):
    assert rows(write(tmp_path, GLOVE), "unheard", others=["happy"]).shape == (0, 3)


def test_how_many_words_have_a_vector_is_said(tmp_path, capsys):
    rows(write(tmp_path, GLOVE), "happy happy sad unheard")
    assert "2 of 3 words have a vector, 75.0 % of the text" in capsys.readouterr().err


def test_vectors_of_another_language_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"vectors\.txt: has none of .* 2 words, such as '행복'"):
        rows(write(tmp_path, GLOVE), "행복 슬픔")


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\x00\x01\x02", b"3000000 300\n", b"one word\nand two\n"]
)
def test_a_file_of_another_format_is_refused(tmp_path, content):
    with pytest.raises(UserError, match=r"vectors\.txt: not in text format"):
        WordVectors(write(tmp_path, content))


@pytest.mark.parametrize("line", [b"sad 0 1\n", b"sad 0 x 0\n", b"sad 0 nan 0\n"])
def test_a_damaged_line_of_a_word_in_use_is_named(tmp_path, line):
    with pytest.raises(UserError, match=r"line 2 does not hold 3 numbers"):
        rows(write(tmp_path, b"happy 1 0 0\n" + line), "sad")


def test_a_download_cut_short_is_refused(tmp_path):
    path = write(tmp_path, gzip.compress(GLOVE * 2000)[:-10], "vectors.gz")
    with pytest.raises(UserError, match=r"vectors\.gz: damaged"):
        rows(path, "happy")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--word_vectors .*none\.txt: no such file"):
        WordVectors(tmp_path / "none.txt")


def test_another_file_has_another_name_in_the_settings(tmp_path):
    first, second = write(tmp_path, GLOVE), write(tmp_path, GLOVE + b"x 1 1 1\n", "other.txt")
    assert WordVectors(first).name.startswith("vectors.txt@")
    assert WordVectors(first).name.split("@")[1] != WordVectors(second).name.split("@")[1]
