"""The sheet that shows what preprocessing made of some clips."""

import cv2
import numpy as np

from emotion.corpora.qia2020 import EMOTIONS
from emotion.emotions import colours
from emotion.preprocessing.contact import NAME, choose, draw_contacts, label_of
from tests.features import make_features


def test_clips_of_all_labels_spread_over_the_list(tmp_path):
    store = make_features(tmp_path, clips={"train": 70}, modalities=("speech",))
    records = store.read_manifest("train")
    chosen = choose(records, 21)
    labels = [label_of(record) for record in chosen]
    assert {name: labels.count(name) for name in EMOTIONS} == dict.fromkeys(EMOTIONS, 3)
    assert len(set(labels[:7])) == 7
    numbers = [records.index(record) for record in chosen if label_of(record) == "hap"]
    assert numbers == [0, 28, 63]
    assert len(choose(records[:4], 24)) == 4


def test_crops_spectrograms_and_what_is_missing(tmp_path):
    store = make_features(
        tmp_path, clips={"train": 3, "test": 2}, noise=0.0,
        absent={"speech": {1}, "video": {2}, "embedding": {2}},
    )  # fmt: skip
    draw_contacts(store, EMOTIONS, anew=True)
    sheets = [cv2.imread(str(tmp_path / split / NAME))[..., ::-1] for split in ("train", "test")]
    assert sheets[0].shape[1] > 3 * 448
    places = {"ang": 0, "dis": 1, "hap": 2}  # labels in turn, by name
    for name, place in places.items():
        cell = sheets[0][10:142, 10 + place * 458 :][:, :448]
        colour = colours(EMOTIONS)[EMOTIONS.index(name)]
        code = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        assert (np.abs(cell[:20].astype(int) - code).sum(axis=2) < 6).sum() > 100
        face, sound = cell[22:, :224].astype(int), cell[22:, 224:].astype(int)
        grey = [np.abs(part - (0xEA, 0xEE, 0xF2)).sum(axis=2) < 6 for part in (face, sound)]
        wanted = [name == "dis", name == "ang"]
        assert [bool(part.mean() > 0.8) for part in grey] == wanted


def test_a_sheet_that_is_there_stays_unless_something_was_extracted(tmp_path):
    store = make_features(tmp_path, clips={"train": 2}, modalities=("speech",))
    path = tmp_path / "train" / NAME
    path.write_bytes(b"mine")
    draw_contacts(store, EMOTIONS, anew=False)
    assert path.read_bytes() == b"mine"
    draw_contacts(store, EMOTIONS, anew=True)
    assert path.read_bytes() != b"mine"


def test_words_alone_make_no_sheet(tmp_path):
    store = make_features(tmp_path, clips={"train": 2}, modalities=("text",))
    draw_contacts(store, EMOTIONS, anew=True)
    assert not (tmp_path / "train" / NAME).exists()


def test_a_damaged_file_costs_a_line(tmp_path, capsys):
    store = make_features(tmp_path, clips={"train": 2, "val": 2}, modalities=("speech",))
    (tmp_path / "train" / "speech" / "train000.npy").write_bytes(b"no array")
    draw_contacts(store, EMOTIONS, anew=True)
    assert "contact.png: not drawn (" in capsys.readouterr().err
    assert not (tmp_path / "train" / NAME).exists()
    assert (tmp_path / "val" / NAME).is_file()
