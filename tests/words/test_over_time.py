"""Words of a long recording: windows that read their own, windows that follow phrases, pictures."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from emotion.clock import SAMPLE_RATE
from emotion.errors import UserError
from emotion.inputs.extraction import Extractor
from emotion.inputs.spoken import Word
from emotion.prediction.attention import Attention
from emotion.prediction.options import PredictOptions
from emotion.prediction.phrases import loud_parts, phrases_of
from emotion.prediction.recording import Recording, Span, read_recording
from emotion.prediction.run import predict
from emotion.prediction.word_plots import shares_of, write_words
from emotion.records import Clip, Labels
from tests.media import face_frame, silence, tone, write_clip
from tests.prediction import make_checkpoint, options_of, probabilities_of, rows_of
from tests.slim import slim
from tests.words.spoken import CLASSES, run


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


def test_windows_of_a_recording_leave_out_what_cannot_be_made_here(talk):
    """As a clip does: no window asks for an encoder that is gone."""
    described = {"source": "/gone/encoder", "flag": "text_encoder", "layers": 1}
    settings = {"audio": "percentile", "text": "encoder@0 layers 1", "text:embedder": described}
    given = PredictOptions(transcripts=["none"])
    extractor = Extractor(settings, given, features=["speech", "text"], blocked=["text"])
    clip = Clip("talk", "talk", talk, "input", None, Labels(), None)
    whole = extractor.extract(clip).states
    window = read_recording(clip, extractor).window(Span(0.0, 2.0)).record.states
    assert (window["speech"], window["text"], whole["text"]) == ("ok", "skipped", "skipped")


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
    words = [Word("so", 0.0, 1.0), Word("sad!", 1.0, 2.0)]
    time = np.array([0.5, 1.5, 1.5, np.nan], np.float32)
    attention = Attention(np.array([0.2, 0.3, 0.4, 0.1]), time)
    np.testing.assert_allclose(shares_of(words, attention), [0.2, 0.7])


def test_words_are_written_where_they_are_said_and_do_not_overlap():
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
