"""Names and label files of the corpora, read into clips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion.corpora.loading import load_corpus
from emotion.corpora.qia2020 import EMOTIONS, parse_emotion, parse_name
from emotion.errors import UserError
from emotion.records import Labels, Named
from emotion.registry import CORPORA
from tests.trees import touch

HAP, ANG, DIS, FEA, SAD, NEU, SUR = range(7)


def qia2020(folder):
    """Clips by stem; the loader reads names only, so empty files will do."""
    return {clip.stem: clip for clip in load_corpus("qia2020", folder).clips}


# -- emotions ------------------------------------------------------------------------------------


def test_emotions_are_numbered_in_the_order_of_the_data_set():
    labels = ["hap", "ang", "dis", "fea", "sad", "neu", "sur"]
    assert [parse_emotion(label, "x") for label in labels] == list(range(7))
    assert parse_emotion(" Sad ", "x") == SAD


# -- qia2020, labels in the names ----------------------------------------------------------------


def test_labels_in_a_name_are_integrated_face_speech_in_this_order(tmp_path):
    touch(tmp_path, "train/00012-hap-ang-sur.mp4")
    clip = qia2020(tmp_path)["00012-hap-ang-sur"]
    assert clip.labels == Labels(integrated=HAP, face=ANG, speech=SUR)
    assert (clip.id, clip.split, clip.speaker) == ("00012", "train", None)
    assert clip.path == tmp_path / "train" / "00012-hap-ang-sur.mp4"


def test_capital_letters_in_a_name_are_read_and_the_stem_is_kept(tmp_path):
    touch(tmp_path, "val/7-HAP-Neu-sad.MP4")
    assert qia2020(tmp_path)["7-HAP-Neu-sad"].labels == Labels(HAP, NEU, SAD)


@given(
    st.text("0123456789abcXYZ_", min_size=1, max_size=8),
    st.tuples(*[st.sampled_from(EMOTIONS)] * 3),
)
def test_every_labelled_name_is_parsed_to_what_it_was_made_of(identifier, words):
    parsed = parse_name("-".join([identifier, *words]))
    assert parsed == Named(identifier, None, Labels(*map(EMOTIONS.index, words)))


@given(
    st.text("0123456789", min_size=1, max_size=8),
    st.lists(st.text("abcdefghi0123", min_size=4, max_size=6), max_size=4),
)
def test_names_of_the_other_scheme_give_the_id_and_no_labels(identifier, words):
    assert parse_name("-".join([identifier, *words])) == Named(identifier, None, Labels())


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=3))
def test_a_word_of_three_letters_is_one_of_the_seven_or_an_error(word):
    if word in EMOTIONS:
        assert parse_name(f"1-hap-{word}-hap").labels.face == EMOTIONS.index(word)
    else:
        with pytest.raises(UserError, match=word):
            parse_name(f"1-hap-{word}-hap")


def test_a_bad_label_in_a_name_names_the_clip(tmp_path):
    touch(tmp_path, "train/00001-hap-ang-sad.mp4", "train/00002-hap-joy-sad.mp4")
    with pytest.raises(UserError, match=r"00002-hap-joy-sad.*'joy'.*hap ang dis fea sad neu sur"):
        qia2020(tmp_path)


# -- qia2020, labels in csv files ----------------------------------------------------------------


def test_labels_come_from_the_three_csv_files_beside_the_split(tmp_path):
    touch(tmp_path, "train/00003.mp4", "train/00004-take2.mp4")
    (tmp_path / "train.csv").write_text("FileID,Emotion\n00003,hap\n00004,sad\n")
    (tmp_path / "train_face.csv").write_text("FileID,Emotion\n00004,fea\n00003,neu\n")
    (tmp_path / "train_speech.csv").write_text("FileID,Emotion\n00003,dis\n")
    clips = qia2020(tmp_path)
    assert clips["00003"].labels == Labels(HAP, NEU, DIS)
    assert clips["00004-take2"].labels == Labels(SAD, FEA, None)
    assert clips["00004-take2"].id == "00004"


def test_csv_files_of_a_spreadsheet_are_read(tmp_path):
    touch(tmp_path, "val/00005.mp4")
    content = "\ufeffFileID,Emotion\r\n00005,hap\r\n\r\n"  # byte order mark, CRLF, an empty line
    (tmp_path / "val.csv").write_bytes(content.encode("utf-8"))
    assert qia2020(tmp_path)["00005"].labels.integrated == HAP


def test_labels_of_one_split_are_not_used_for_another(tmp_path):
    touch(tmp_path, "train/1.mp4", "val/1.mp4")
    (tmp_path / "train.csv").write_text("FileID,Emotion\n1,hap\n")
    (tmp_path / "val.csv").write_text("FileID,Emotion\n1,sad\n")
    labels = {c.split: c.labels.integrated for c in load_corpus("qia2020", tmp_path).clips}
    assert labels == {"train": HAP, "val": SAD}


def test_a_bad_label_in_a_csv_names_file_and_line(tmp_path):
    touch(tmp_path, "train/00001.mp4")
    (tmp_path / "train_face.csv").write_text("FileID,Emotion\n00001,hap\n00002,happy\n")
    with pytest.raises(UserError, match=r"train_face\.csv:3.*'happy'"):
        qia2020(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"00001,hap\n", "has no column FileID, but 00001,hap; correct the header line"),
        (b"", "has no column FileID, but nothing; correct the header line"),
        (b"FileID,Label\n00001,hap\n", "has no column Emotion, but FileID,Label; correct"),
        (b"FileID,Emotion\n00001\n", "''"),
        (b"Emotion,FileID\nhap\n", "no FileID"),
        (b"FileID,Emotion\n1,hap\n1,sad\n", "csv:3: gives 1 a second label; keep one"),
        (b'FileID,Emotion\n1,"' + b"h" * 140_000, r"not a readable CSV file \(.*; correct it"),
        ("FileID,Emotion\n00001,행복\n".encode("cp949"), "not UTF-8 text; save it as UTF-8"),
        ("FileID,Emotion\n행복,hap\n".encode("cp949"), "not UTF-8 text; save it as UTF-8"),
    ],
    ids=[
        *("no header", "empty", "other header", "no label", "no id", "two labels", "no CSV"),
        *("label not UTF-8", "id not UTF-8"),
    ],
)
def test_a_label_file_of_another_form_is_refused_by_name(tmp_path, content, reason):
    touch(tmp_path, "train/00001.mp4")
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        qia2020(tmp_path)
    assert str(tmp_path / "train.csv") in str(caught.value)


# -- qia2020, the rest ---------------------------------------------------------------------------


def test_test_clips_carry_no_label(tmp_path):
    touch(tmp_path, "test/00009.mp4", "test/00010-x.mp4")
    assert {clip.labels for clip in qia2020(tmp_path).values()} == {Labels(None, None, None)}


def test_text_lies_under_the_zero_padded_id_beside_the_clip(tmp_path):
    touch(tmp_path, "train/007-hap-hap-hap.mp4", "train/7-sad-sad-sad.mp4", "train/8.mp4")
    np.savez(tmp_path / "train" / "007.npz", word_embed=np.ones((2, 3)))
    np.savez(tmp_path / "train" / "8-x.npz", word_embed=np.ones((2, 3)))
    clips = qia2020(tmp_path)
    assert clips["007-hap-hap-hap"].id == "007"
    assert clips["007-hap-hap-hap"].text == tmp_path / "train" / "007.npz"
    assert clips["7-sad-sad-sad"].id == "7"
    assert clips["7-sad-sad-sad"].text is None
    assert clips["8"].text is None


def test_only_media_of_the_splits_that_exist_are_clips_in_a_fixed_order(tmp_path):
    touch(tmp_path, "val/2.mp4", "val/1.mp4", "val/notes.txt", "val/1.npz", "train/3.mov")
    touch(tmp_path, "spare/4.mp4", "5.mp4")
    clips = load_corpus("qia2020", tmp_path).clips
    assert [(clip.split, clip.stem) for clip in clips] == [
        ("train", "3"),
        ("val", "1"),
        ("val", "2"),
    ]


def test_an_empty_split_is_refused_by_name(tmp_path):
    touch(tmp_path, "train/1.mp4")
    (tmp_path / "val").mkdir()
    with pytest.raises(UserError, match=r"val: holds no clips"):
        qia2020(tmp_path)


def test_a_folder_without_splits_is_refused(tmp_path):
    touch(tmp_path, "1.mp4")
    with pytest.raises(UserError, match=r"none of the folders train, val, test"):
        qia2020(tmp_path)


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_missing_folder_is_refused_with_its_name_and_the_flag(tmp_path, corpus):
    with pytest.raises(UserError, match=r"nowhere: no such folder.*--data_dir"):
        load_corpus(corpus, tmp_path / "nowhere")


def test_two_clips_that_would_share_their_features_are_refused(tmp_path):
    touch(tmp_path, "train/1-hap-hap-hap.mp4", "train/1-hap-hap-hap.mov")
    with pytest.raises(UserError, match=r"1-hap-hap-hap\.mp4.*same name.*1-hap-hap-hap\.mov"):
        qia2020(tmp_path)
