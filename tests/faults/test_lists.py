"""Word embeddings and label files as they should not be: the reason is told, in one line."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion.corpora.loading import load_corpus
from emotion.corpora.qia2020 import EMOTIONS
from emotion.errors import UserError
from emotion.inputs.words import TextError, read_word_embeddings

WORDS = {
    "objects": (np.array([[None]]), "not a readable npz"),
    "flat": (np.zeros(200), "shape"),
    "deep": (np.zeros((1, 2, 200)), "shape"),
    "nan": (np.array([[np.nan]]), "not finite"),
    "too large": (np.array([[1e300]]), "not finite"),
    "text": (np.array([["word"]]), "type"),
}


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("case", WORDS)
def test_word_embeddings_that_are_none(tmp_path, tally, case):
    array, reason = WORDS[case]
    np.savez(tmp_path / "a.npz", word_embed=array)
    tally("word embeddings")
    with pytest.raises(TextError, match=reason) as caught:
        read_word_embeddings(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_no_words_and_very_many(tmp_path, tally):
    tally("word embeddings", 2)
    for count in (0, 100_000):
        np.savez(tmp_path / "a.npz", word_embed=np.ones((count, 4), np.float32))
        words = read_word_embeddings(tmp_path / "a.npz")
        assert words is None if count == 0 else words.shape == (count, 4)


def test_archives_cut_anywhere_are_refused(tmp_path, tally):
    np.savez(tmp_path / "a.npz", word_embed=np.ones((3, 20)))
    content = (tmp_path / "a.npz").read_bytes()
    cuts = range(0, len(content), 7)
    tally("word embeddings", len(cuts))
    for cut in cuts:
        (tmp_path / "a.npz").write_bytes(content[:cut])
        with pytest.raises(TextError, match="not a readable npz"):
            read_word_embeddings(tmp_path / "a.npz")


def corpus(folder, content):
    (folder / "train").mkdir()
    (folder / "train" / "001.mp4").touch()
    (folder / "train.csv").write_bytes(content)
    return folder


READ = {
    "byte order mark": b"\xef\xbb\xbfFileID,Emotion\n001,hap\n",
    "CRLF": b"FileID,Emotion\r\n001,hap\r\n",
    "spaces": b"FileID,Emotion\n 001 , HAP \n",
    "duplicates that agree": b"FileID,Emotion\n001,hap\n001,hap\n",
    "further columns": b"FileID,Speaker,Emotion\n001,x,hap\n",
}


@pytest.mark.parametrize("case", READ)
def test_label_files_as_spreadsheets_write_them(tmp_path, tally, case):
    tally("label files")
    clip = load_corpus("qia2020", corpus(tmp_path, READ[case])).clips[0]
    assert clip.labels.integrated == EMOTIONS.index("hap")


REFUSED = {
    "no columns": b"",
    "a column missing": b"FileID\n001\n",
    "unknown label": b"FileID,Emotion\n001,bored\n",
    "no label": b"FileID,Emotion\n001\n",
    "not text": b"FileID,Emotion\n001,\xff\xfe\n",
    "a null byte": b"FileID,Emotion\n001,h\0ap\n",
    "duplicates that differ": b"FileID,Emotion\n001,hap\n001,sad\n",
    "an endless field": b'FileID,Emotion\n001,"' + b"x" * 200_000,
}


@pytest.mark.parametrize("case", REFUSED)
def test_label_files_that_are_none(tmp_path, tally, case):
    tally("label files")
    with pytest.raises(UserError, match=r"train\.csv") as caught:
        load_corpus("qia2020", corpus(tmp_path, REFUSED[case]))
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=80))
def test_any_bytes_as_a_label_file_are_read_or_refused(tmp_path_factory, content):
    folder = corpus(tmp_path_factory.mktemp("any"), content)
    with contextlib.suppress(UserError):  # anything else is a failure
        load_corpus("qia2020", folder)
