"""Clips without words are heard: preprocess.py --transcribe."""

import numpy as np
import pytest
import torch

from emotion.errors import UserError
from emotion.inputs.store import StoredClip
from emotion.preprocessing.jobs import Job, lost
from emotion.records import Clip, Labels
from tests.words.spoken import CLASSES, correct, listed, run, words_of


def test_words_of_the_sound_are_listed_embedded_and_timed(corpus, heard):
    store = run(corpus)
    assert listed(corpus)["a"] == {
        "FileID": "a", "transcript": "happy sad! yes", "language": "en", "confidence": "0.900",
        "words": "happy@0.25-0.75 sad!@1.25-1.75 yes@2.25-2.75",
    }  # fmt: skip
    words = words_of(store, "a")
    np.testing.assert_array_equal(words.values, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(words.time, [0.5, 1.5, 2.5])
    states = {r.id: r.states for r in store.read_manifest("train")}
    assert {name: own["text"] for name, own in states.items()} == {
        "a": "ok", "b": "absent", "c": "empty", "d": "ok",
    }  # fmt: skip
    assert listed(corpus).keys() == {"a", "c"}, "d has words of its own, b cannot be read"
    assert np.isnan(words_of(store, "d").time).all()
    assert [f.stem for f in store.read_failures("train")] == ["b"]
    assert heard.calls == 2


def test_a_corrected_line_is_embedded_again_and_nothing_else_is(corpus, heard):
    store = run(corpus)
    other = store.path("train", "text", "d").stat().st_mtime_ns
    correct(corpus, "a", "happy, sad happy")
    run(corpus)
    words = words_of(store, "a")
    np.testing.assert_array_equal(words.values, [[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(words.time, [0.5, 1.5, 2.5])
    assert listed(corpus)["a"]["words"] == "happy,@0.25-0.75 sad@1.25-1.75 happy@2.25-2.75"
    assert store.path("train", "text", "d").stat().st_mtime_ns == other
    assert heard.calls == 2
    done = store.path("train", "text", "a").stat().st_mtime_ns
    run(corpus)
    assert store.path("train", "text", "a").stat().st_mtime_ns == done, "and only once"


def test_a_clip_that_is_heard_again_keeps_its_correction(corpus, heard):
    """Its line was embedded long ago, so it does not wait; what is heard anew does not count."""
    store = run(corpus)
    correct(corpus, "a", "happy, sad happy")
    run(corpus)
    store.path("train", "text:transcript", "a", "a").unlink()
    run(corpus)
    assert heard.calls == 3
    np.testing.assert_array_equal(words_of(store, "a").values, [[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    record = next(r for r in store.read_manifest("train") if r.id == "a")
    stored = StoredClip(store, "train", record).read("text:transcript")
    assert stored.text == "happy, sad happy"


def test_a_clip_that_is_made_again_keeps_words_that_this_run_does_not_embed(corpus):
    store = run(corpus)
    store.path("train", "speech", "a").unlink()
    (corpus / "d.wav").write_bytes(b"nothing")  # it cannot be opened any more
    store.path("train", "speech", "d").unlink()
    run(corpus, word_vectors="", transcribe="")
    states = {r.id: r for r in store.read_manifest("train")}
    assert states["a"].states["text"] == states["d"].states["text"] == "ok"
    assert states["a"].states["speech"] == "ok"
    assert states["d"].states["speech"] == "failed"
    assert (states["a"].fact("words"), states["d"].fact("words")) == (3, 2)


def test_a_clip_whose_worker_dies_of_one_feature_keeps_the_others(corpus):
    store = run(corpus)
    record = next(r for r in store.read_manifest("train") if r.id == "a")
    clip = Clip("a", "a", corpus / "a.wav", "train", None, Labels(), None)
    settings = store.read_description()["settings"]
    outcome = lost(Job(clip, record, ("speech",)), "killed", store, CLASSES, settings)
    assert outcome.record == record._replace(states=record.states | {"speech": "failed"})
    assert [f.reason for f in outcome.failures] == ["killed"]


def test_a_line_is_corrected_before_anything_is_embedded(corpus, capsys):
    store = run(corpus, word_vectors="")
    assert "transcripts are left as they are" in capsys.readouterr().err
    correct(corpus, "c", "sad")
    run(corpus, word_vectors="")
    assert listed(corpus)["c"]["transcript"] == "sad", "it waits for an embedder"
    run(corpus, transcribe="")
    np.testing.assert_array_equal(words_of(store, "c").values, [[0, 1, 0]])
    assert store.read_description()["settings"]["text:transcript"]["fingerprint"] == "feedbeef"


def test_a_list_that_a_person_has_broken_is_named(corpus):
    run(corpus)
    path = corpus / "features" / "train" / "transcripts.csv"
    path.write_text(path.read_text().replace("transcript,", "said,"))
    with pytest.raises(UserError, match=r"train/transcripts\.csv: requires the columns"):
        run(corpus)


def test_a_folder_of_before_takes_words_up_later(corpus):
    run(corpus, transcribe="", word_vectors="")
    store = run(corpus)
    assert words_of(store, "a").values.shape == (3, 3)


def test_korean_words_are_listed_in_hangul_and_embedded(corpus, heard, monkeypatch):
    monkeypatch.setattr(heard, "said", ("행복", "슬픔!", "행복"))
    store = run(corpus, language="ko")
    assert listed(corpus)["a"]["transcript"] == "행복 슬픔! 행복"
    words = words_of(store, "a")
    np.testing.assert_array_equal(words.values, [[2, 0, 0], [0, 2, 0], [2, 0, 0]])
    np.testing.assert_allclose(words.time, [0.5, 1.5, 2.5])


def test_a_multilingual_encoder_embeds_hangul_and_subwords_keep_the_time(
    corpus, heard, monkeypatch, tmp_path
):
    encoder = multilingual(tmp_path / "encoder")
    monkeypatch.setattr(heard, "said", ("행복해", "슬픔!", "yes"))
    store = run(corpus, word_vectors="", text_encoder=str(encoder))
    words = words_of(store, "a")
    assert words.values.shape == (4, 16)  # the mark is a word of its own
    np.testing.assert_allclose(words.time, [0.5, 1.5, 1.5, 2.5])


def multilingual(folder):
    """A BERT of drawn weights whose pieces are Hangul, Latin and marks."""
    transformers = pytest.importorskip("transformers")
    folder.mkdir()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "행복", "##해", "슬픔", "yes", "!"]
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast(
        vocab=str(folder / "vocab.txt"), do_lower_case=False, strip_accents=False
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder
