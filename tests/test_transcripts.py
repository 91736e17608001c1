"""Transcripts through preprocess.py: what is written, resumed, refused; and what train.py reads."""

import json

import numpy as np
import pytest

from emotion.command_line import parse
from emotion.errors import UserError
from emotion.inputs.store import StoredClip
from emotion.inputs.transcripts import BATCH_SIZE, clean
from emotion.training.options import TrainOptions
from emotion.training.run import train
from tests.media import tone, write_clip
from tests.words.spoken import embedded

VECTORS = "happy 1 0 0\nsad 0 1 0\nyes 0 0 1\nn't 2 2 2\ndo 3 3 3\n"
HEADER = "id,path,label,split,transcript\n"


def table(folder, rows):
    folder.mkdir(exist_ok=True)
    (folder / "table.csv").write_text(HEADER + "".join(f"{row}\n" for row in rows))
    (folder / "vectors.txt").write_text(VECTORS)
    return folder


def records(store, split="train"):
    return {record.stem: record for record in store.read_manifest(split)}


def words_of(store, record):
    return StoredClip(store, "train", record).read("text").values


@pytest.fixture
def corpus(tmp_path):
    rows = ["a,,good,train,yes happy", "b,,bad,train,sad", "c,,bad,train,zzz"]
    rows.append("d,d.wav,good,train,Don\u2019t happy")
    folder = table(tmp_path / "data", rows)
    write_clip(folder / "d.wav", sound=tone(0.4))
    return folder


def test_printers_marks_become_the_typewriters():
    assert (
        clean("  Don\u2019t \u201cstop\u201d\u2026\n now\u2014please ")
        == 'Don\'t "stop"... now-please'
    )


def test_a_transcript_alone_becomes_words_and_no_other_feature(corpus):
    store = embedded(corpus)
    found = records(store)
    np.testing.assert_array_equal(words_of(store, found["a"]), [[0, 0, 1], [1, 0, 0]])
    states = [found["a"].state(name) for name in ("speech", "video", "embedding", "text")]
    assert states == ["absent", "absent", "absent", "ok"]
    assert (found["a"].fact("words"), found["c"].fact("words")) == (2, 0)
    assert found["c"].state("text") == "empty"
    assert store.read_failures("train") == []


def test_a_clip_with_sound_and_transcript_has_both(corpus):
    store = embedded(corpus)
    record = records(store)["d"]
    assert (record.state("speech"), record.state("text"), record.fact("words")) == ("ok", "ok", 3)
    np.testing.assert_array_equal(words_of(store, record)[:2], [[3, 3, 3], [2, 2, 2]])


def test_the_embedder_is_recorded_with_the_settings(corpus):
    settings = embedded(corpus).read_description()["settings"]
    assert settings["text"].startswith("vectors.txt@")


def test_other_vectors_want_another_folder_of_features(corpus):
    embedded(corpus)
    (corpus / "other.txt").write_text(VECTORS.replace("1", "4"))
    with pytest.raises(UserError, match=r"made with text vectors\.txt@.*--features_dir"):
        embedded(corpus, word_vectors=str(corpus / "other.txt"))


def test_words_can_be_added_later_and_stay_without_the_flag(corpus, capsys):
    before = embedded(corpus, word_vectors="")
    assert "4 transcripts are left as they are" in capsys.readouterr().err
    assert records(before)["a"].state("text") == "absent"
    assert records(embedded(corpus))["a"].state("text") == "ok"
    later = embedded(corpus, word_vectors="")
    assert records(later)["a"].state("text") == "ok"
    assert later.read_description()["settings"]["text"].startswith("vectors.txt@")


def test_a_second_run_embeds_only_what_is_missing(corpus):
    store = embedded(corpus)
    times = {path: path.stat().st_mtime_ns for path in corpus.rglob("features/*/text/*.npz")}
    gone = store.path("train", "text", "b")
    gone.unlink()
    embedded(corpus)
    assert gone.is_file()
    assert len(times) == 3
    for path, time in times.items():
        assert (path.stat().st_mtime_ns == time) == (path != gone)


def test_more_transcripts_than_a_batch_keep_their_own_words(tmp_path):
    words = ("happy", "sad", "yes")
    rows = [
        f"{n},,good,train,{' '.join([words[n % 3]] * (1 + n % 7))}" for n in range(BATCH_SIZE + 9)
    ]
    store = embedded(table(tmp_path / "data", rows))
    found = records(store)
    for number in range(BATCH_SIZE + 9):
        values = words_of(store, found[str(number)])
        np.testing.assert_array_equal(values, np.eye(3)[[number % 3] * (1 + number % 7)])


def test_two_embedders_at_once_are_refused(corpus):
    with pytest.raises(UserError, match="give one of them"):
        embedded(corpus, text_encoder="folder")


def test_an_embedder_for_a_corpus_without_transcripts_is_refused(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_clip(folder / "03-01-01-01-01-01-01.wav", sound=tone(0.4))
    (folder / "vectors.txt").write_text(VECTORS)
    with pytest.raises(UserError, match="ravdess: has no transcripts"):
        embedded(folder, corpus="ravdess")


def test_transcripts_alone_train_a_text_model(tmp_path):
    words = ("happy", "sad")
    splits = ("train", "val", "test")
    rows = [
        f"{split}{n},,{words[n % 2]},{split},{words[n % 2]} yes"
        for split in splits
        for n in range(8)
    ]
    folder = table(tmp_path / "data", rows)
    embedded(folder)
    line = f"--mode text --features_dir {folder / 'features'} --logs_dir {folder / 'logs'} "
    line += "--n_epoch 20 --batch_size 4 --num_workers 0 --mixup_prob 0 "
    assert train(parse(TrainOptions, "", line.split())) == 0
    result = json.loads((folder / "logs" / "text" / "default" / "result.json").read_text())
    assert result["test"]["accuracy"] == 1.0
