"""Clips without words are heard: preprocess.py --transcribe, and predict.py after it."""

import csv
import sys

import numpy as np
import pytest
import torch

from emotion.clock import SAMPLE_RATE
from emotion.errors import UserError
from emotion.frozen import transcriber
from emotion.inputs.spoken import Spoken, Word
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.prediction.phrases import loud_parts, phrases_of
from emotion.prediction.recording import Recording
from emotion.prediction.run import predict
from emotion.prediction.word_plots import shares_of, write_words
from emotion.preprocessing.run import PreprocessOptions, preprocess
from tests.media import face_frame, noise, silence, tone, write_clip
from tests.prediction import (
    answers_of,
    make_checkpoint,
    options_of,
    probabilities_of,
    rows_of,
    slim,
)

VECTORS = "happy 1 0 0\nsad 0 1 0\nyes 0 0 1\n행복 2 0 0\n슬픔 0 2 0\n"
CLASSES = ("bad", "good")


class Heard:
    """In place of Whisper: a word for each whole second that is loud, said in its middle."""

    fingerprint = "feedbeef"
    said = ("happy", "sad!", "yes")
    calls = 0

    def __init__(self, source, language="auto", device="cpu"):
        if source.endswith("gone"):
            raise UserError(f"--transcribe {source}: no such folder")

    def __call__(self, waveform):
        Heard.calls += 1
        seconds = [waveform[k * SAMPLE_RATE :][:SAMPLE_RATE] for k in range(len(waveform) // 16000)]
        loud = [k for k, part in enumerate(seconds) if np.abs(part).max() > 0.1]
        words = [Word(self.said[k % 3], k + 0.25, k + 0.75) for k in loud]
        return Spoken(tuple(words), "en", 0.9)


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    monkeypatch.setattr(transcriber, "Transcriber", Heard)
    monkeypatch.setattr(Heard, "calls", 0)
    before = torch.get_num_threads()
    yield Heard
    torch.set_num_threads(before)


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = ["id,path,label,split,transcript", "a,a.wav,good,train,", "b,b.wav,bad,train,"]
    rows += ["c,c.wav,bad,train,", "d,d.wav,good,train,sad yes"]
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    (folder / "vectors.txt").write_text(VECTORS)
    for name, sound in zip("acd", (tone(3.2), silence(2.0), tone(1.0)), strict=True):
        write_clip(folder / f"{name}.wav", sound=sound)
    (folder / "b.wav").write_bytes(b"nothing")
    return folder


def run(folder, **changes):
    given = {
        "corpus": "table",
        "data_dir": str(folder),
        "features_dir": str(folder / "features"),
        "vggface_weights": "none",
        "num_workers": 0,
        "transcribe": "whisper",
        "word_vectors": str(folder / "vectors.txt"),
        "max_failures": 50.0,
    }
    assert preprocess(PreprocessOptions(**given | changes)) == 0
    return FeatureStore(folder / "features")


def listed(folder):
    with (folder / "features" / "train" / "transcripts.csv").open(newline="") as file:
        return {row["FileID"]: row for row in csv.DictReader(file)}


def correct(folder, name, text):
    path = folder / "features" / "train" / "transcripts.csv"
    rows = list(listed(folder).values())
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(r | {"transcript": text} if r["FileID"] == name else r for r in rows)


def words_of(store, name):
    record = next(r for r in store.read_manifest("train") if r.id == name)
    return StoredClip(store, "train", record).read("text")


# -- preprocess.py ---------------------------------------------------------------------------------


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


# -- predict.py ------------------------------------------------------------------------------------


@pytest.fixture
def model(corpus, tmp_path):
    """A model of text that remembers how its words were made."""
    settings = run(corpus).read_description()["settings"]
    return make_checkpoint(
        tmp_path / "logs", "text", class_names=CLASSES, features=settings, text_dim=3
    )


def answers(model, folder, **flags):
    return answers_of(model, folder, probabilities=True, **flags)


def test_a_file_is_answered_as_its_features_are(model, corpus, tmp_path):
    stored = answers(model, tmp_path, split="train", features_dir=str(corpus / "features"))
    files = answers(model, tmp_path, input=[str(corpus / "a.wav"), str(corpus / "c.wav")])
    wanted = {row["FileID"]: row for row in stored}
    assert probabilities_of(files[0], CLASSES) == pytest.approx(
        probabilities_of(wanted["a"], CLASSES), abs=1e-6
    )
    assert files[0]["modalities"] == "text"
    assert (files[1]["Emotion"], files[1]["modalities"]) == ("", "")


def test_a_table_is_answered_with_its_transcripts_and_labels(model, corpus, tmp_path):
    rows = "id,path,label,transcript\nd,d.wav,good,sad yes\nt,,bad,yes\nx,a.wav,,\n"
    (corpus / "some.csv").write_text(rows)
    report = tmp_path / "report"
    found = answers(model, tmp_path, input=[str(corpus / "some.csv")], report=str(report))
    assert [row["FileID"] for row in found] == ["d", "t", "x"]
    assert all(row["modalities"] == "text" for row in found)
    assert '"clips": 2' in (report / "report.json").read_text()
    (corpus / "some.csv").write_text(rows.replace("bad", "dull"))
    with pytest.raises(UserError, match=r"the label 'dull' is not one of bad good"):
        answers(model, tmp_path, input=[str(corpus / "some.csv")])


def test_given_words_take_the_place_of_the_transcriber(model, corpus, tmp_path, heard):
    (tmp_path / "w.csv").write_text("FileID,transcript\na,sad sad\n")
    heard.calls = 0
    given, absent = answers(
        model, tmp_path, input=[str(corpus / "a.wav"), str(corpus / "c.wav")],
        transcripts=[str(tmp_path / "w.csv")],
    )  # fmt: skip
    assert heard.calls == 0
    (corpus / "sad.csv").write_text("id,path,transcript\ns,,sad sad\n")
    (alike,) = answers(model, tmp_path, input=[str(corpus / "sad.csv")])
    assert probabilities_of(given, CLASSES) == pytest.approx(probabilities_of(alike, CLASSES))
    assert absent["Emotion"] == ""


def test_what_is_missing_is_a_line_that_says_how_to_give_it(corpus, tmp_path):
    settings = run(corpus).read_description()["settings"]
    settings["text:transcript"]["source"] = "/somewhere/gone"
    model = make_checkpoint(
        tmp_path / "logs", "text", class_names=CLASSES, features=settings, text_dim=3
    )
    flags = {"input": [str(corpus / "a.wav")]}
    with pytest.raises(
        UserError, match=r"gone: no such .* --transcripts FOLDER.* --transcripts none"
    ):
        answers(model, tmp_path, **flags)
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "model.bin").touch()
    (row,) = answers(model, tmp_path, transcripts=[str(moved)], **flags)
    assert row["modalities"] == "text"
    with pytest.raises(UserError, match="which --transcripts none leaves out"):
        answers(model, tmp_path, transcripts=["none"], **flags)
    settings["text:transcript"]["fingerprint"] = "another"
    model = make_checkpoint(
        tmp_path / "logs", "text", class_names=CLASSES, features=settings, text_dim=3
    )
    with pytest.raises(UserError, match="is not the transcriber of the training"):
        answers(model, tmp_path, transcripts=[str(moved)], **flags)
    (corpus / "vectors.txt").unlink()
    with pytest.raises(UserError, match=r"--word_vectors .*: no such file.* --transcripts PATH"):
        answers(model, tmp_path, **flags)


def test_a_model_of_vectors_beside_clips_cannot_embed_words(corpus, tmp_path):
    model = make_checkpoint(tmp_path / "logs", "text", class_names=CLASSES, text_dim=3)
    (tmp_path / "w.csv").write_text("FileID,transcript\na,sad\n")
    with pytest.raises(UserError, match="nothing embeds these"):
        answers(
            model, tmp_path, input=[str(corpus / "a.wav")], transcripts=[str(tmp_path / "w.csv")]
        )


# -- over time -------------------------------------------------------------------------------------


@pytest.fixture
def talk(tmp_path):
    """6 s: two seconds of voice, two of pause, two of voice, and a face."""
    sound = np.concatenate([tone(2.0), silence(2.0), tone(2.0)])
    return write_clip(tmp_path / "talk.mp4", [face_frame()] * 60, sound, fps=10)


def test_each_window_reads_its_words_and_they_are_drawn(model, talk, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "emotion.prediction.plots.write_words", lambda _, words, *__: drawn.extend(words)
    )
    options = options_of(model, tmp_path, input=[str(talk)], timeline=True, window=2.0, hop=2.0)
    assert predict(options) == 0
    rows = rows_of(options.output)
    assert [row["modalities"] for row in rows[:3]] == ["text", "", "text"]
    assert [word.text for word in drawn] == ["happy", "sad!", "sad!", "yes"][: len(drawn)]
    assert len(drawn) == 4
    first, last = (probabilities_of(rows[k], CLASSES) for k in (0, 2))
    assert first != pytest.approx(last), "they say different words"


def test_words_given_with_times_are_enough_and_those_without_are_not(model, talk, tmp_path):
    flags = {"input": [str(talk)], "timeline": True, "window": 2.0, "hop": 2.0}
    (tmp_path / "given").mkdir()
    path = tmp_path / "given" / "talk.srt"
    path.write_text("1\n00:00:04,500 --> 00:00:05,500\nso sad\n")
    options = options_of(model, tmp_path, transcripts=[str(path.parent)], **flags)
    assert predict(options) == 0
    assert [row["modalities"] for row in rows_of(options.output)][:3] == ["", "", "text"]
    path.rename(path.with_suffix(".txt"))
    given = tmp_path / "again"
    path.parent.rename(given)
    with pytest.raises(UserError, match="words carry no times"):
        predict(options_of(model, tmp_path, transcripts=[str(given)], **flags))


def test_windows_follow_phrases(talk, tmp_path, corpus, monkeypatch):
    slim(monkeypatch)
    settings = run(corpus).read_description()["settings"]
    model = make_checkpoint(
        tmp_path / "logs", "multimodal", class_names=CLASSES, features=settings, text_dim=3,
        face_model="resnet3d", face_frames=4, face_size=32,
    )  # fmt: skip
    options = options_of(
        model, tmp_path, input=[str(talk)], timeline=True, window="phrase", probabilities=True
    )
    assert predict(options) == 0
    rows = rows_of(options.output)
    spans = [(float(row["start"]), float(row["end"])) for row in rows]
    assert (
        np.abs(np.array(spans) - [(0.15, 0.85), (1.15, 1.85), (4.15, 4.85), (5.15, 5.85)]).max()
        < 0.01
    )
    assert {row["modalities"] for row in rows} == {"speech face text"}
    assert (tmp_path / "answers_talk.png").is_file()


class Sound:
    """What phrases read of a recording."""

    def __init__(self, waveform):
        self.waveform, self.duration = waveform, len(waveform) / SAMPLE_RATE


def test_phrases_of_sound_alone_end_at_pauses_and_are_not_too_long():
    sound = np.concatenate(
        [silence(1.0), tone(2.0), silence(0.2), tone(1.0), silence(1.0), tone(30)]
    )
    assert len(loud_parts(sound)) == 3
    spans = phrases_of(Recording(Sound(sound), {}, None))
    assert spans[0].start == pytest.approx(0.9, abs=0.1)
    assert spans[0].end == pytest.approx(4.3, abs=0.1)
    assert len(spans) == 4
    assert max(span.end - span.start for span in spans) <= 12.0
    assert spans[-1].end == pytest.approx(len(sound) / SAMPLE_RATE)
    assert phrases_of(Recording(Sound(silence(2.0)), {}, None)) == []


def test_attention_to_the_parts_of_a_word_is_the_word_s():
    from emotion.prediction.attention import Attention

    words = [Word("so", 0.0, 1.0), Word("sad!", 1.0, 2.0)]
    time = np.array([0.5, 1.5, 1.5, np.nan], np.float32)
    attention = Attention(np.array([0.2, 0.3, 0.4, 0.1]), time)
    np.testing.assert_allclose(shares_of(words, attention), [0.2, 0.7])


def test_words_are_written_where_they_are_said_and_do_not_overlap():
    from matplotlib.figure import Figure

    axis = Figure(figsize=(9, 2)).subplots()
    axis.set_xlim(0, 10)
    words = [Word(f"word{k}", 0.1 * k, 0.1 * k + 0.1) for k in range(60)]
    write_words(axis, words, 10.0)
    assert len(axis.texts) == 60
    written = [text for text in axis.texts if text.get_text() != "\u00b7"]
    assert 10 < len(written) < 60
    lanes = {}
    for text in written:
        x, lane = text.get_position()
        assert x - lanes.get(lane, -1.0) > 0.3
        lanes[lane] = x


# -- Whisper itself --------------------------------------------------------------------------------


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-words\.txt"):
        transcriber.Transcriber("base")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A Whisper of one layer with drawn weights, whose pieces are single letters."""
    pytest.importorskip("faster_whisper", reason="faster-whisper is not installed")
    transformers = pytest.importorskip("transformers")
    from ctranslate2.converters import TransformersConverter
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("whisper")
    letters = ["\u0120", *"abcdefghijklmnopqrstuvwxyz", "<unk>"]
    pieces = Tokenizer(models.BPE({c: k for k, c in enumerate(letters)}, [], unk_token="<unk>"))
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    names = "endoftext startoftranscript en translate transcribe startoflm startofprev nospeech"
    special = [f"<|{name}|>" for name in (*names.split(), "notimestamps")]
    pieces.add_special_tokens(special)
    times = [AddedToken(f"<|{0.02 * k:.2f}|>", normalized=False) for k in range(1501)]
    pieces.add_tokens(times)
    pieces.save(str(folder / "tokenizer.json"))
    end, start = (pieces.token_to_id(name) for name in special[:2])
    torch.manual_seed(2)
    config = transformers.WhisperConfig(
        vocab_size=pieces.get_vocab_size(), d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=start, suppress_tokens=[], begin_suppress_tokens=[],
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config.alignment_heads = [[0, 0], [0, 1]]
    model.generation_config.lang_to_id = {"<|en|>": pieces.token_to_id("<|en|>")}
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token=special[0]
    ).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    converter = TransformersConverter(str(folder), copy_files=["tokenizer.json"])
    converter.convert(str(folder / "ct2"), quantization="int8")
    return folder / "ct2"


def test_whisper_gives_words_with_times_where_there_is_a_voice(whisper, monkeypatch):
    monkeypatch.undo()
    heard = transcriber.Transcriber(str(whisper))
    sound = noise(2.0)
    assert not heard(sound).words, "noise is no voice"
    everywhere = [{"start": 0, "end": len(sound)}]
    for module in ("vad", "transcribe"):
        monkeypatch.setattr(
            f"faster_whisper.{module}.get_speech_timestamps", lambda *_, **__: everywhere
        )
    assert not heard(sound).words, "and what drawn weights say is made up"
    monkeypatch.setattr(transcriber, "is_made_up", lambda _: False)
    said = heard(sound)
    edges = [edge for word in said.words for edge in word[1:]]
    assert len(said.words) >= 2
    assert edges == sorted(edges)
    assert 0.0 <= edges[0] < edges[-1] <= 2.0
    assert said.language == "en"
    assert heard(sound) == said, "the same words again"
    assert transcriber.Transcriber(str(whisper)).fingerprint == heard.fingerprint


def test_a_language_or_a_folder_that_is_none_is_a_line(whisper, tmp_path, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(UserError, match="--language xx: not one of auto, en"):
        transcriber.Transcriber(str(whisper), "xx")
    with pytest.raises(UserError, match=r"holds no model\.bin"):
        transcriber.Transcriber(str(tmp_path))
    (tmp_path / "model.bin").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"not a Whisper \(.*\); requires model\.bin") as caught:
        transcriber.Transcriber(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_improbable_or_hurried_words_are_made_up():
    class Said:
        def __init__(self, probability, start, end):
            self.probability, self.start, self.end = probability, start, end

    assert not transcriber.is_made_up([Said(0.9, 0, 0.3), Said(0.9, 0.3, 0.5)])
    assert not transcriber.is_made_up([Said(0.7, 0, 0.4)])
    assert transcriber.is_made_up([Said(0.1, 0, 0.4)])
    assert transcriber.is_made_up([Said(0.5, 9.38, 9.38)] * 6)
