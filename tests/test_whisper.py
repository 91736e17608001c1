"""The transcriber itself, on a Whisper of one layer with drawn weights."""

import sys
from types import SimpleNamespace

import pytest
import torch

from emotion.errors import UserError
from emotion.frozen import transcriber
from tests.media import noise


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
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


def test_a_language_or_a_folder_that_is_none_is_a_line(whisper, tmp_path):
    with pytest.raises(UserError, match="--language xx: not one of auto, en"):
        transcriber.Transcriber(str(whisper), "xx")
    with pytest.raises(UserError, match=r"holds no model\.bin"):
        transcriber.Transcriber(str(tmp_path))
    (tmp_path / "model.bin").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"not a Whisper \(.*\); requires model\.bin") as caught:
        transcriber.Transcriber(str(tmp_path))
    assert "\n" not in str(caught.value)


def segment(*words, text="Stop it!"):
    """As faster-whisper gives them; of words (probability, start, end)."""
    names = ("probability", "start", "end")
    said = [SimpleNamespace(**dict(zip(names, word, strict=True))) for word in words]
    return SimpleNamespace(text=text, words=said, start=said[0].start, end=said[-1].end)


def test_improbable_or_hurried_words_are_made_up():
    assert not transcriber.is_made_up(segment((0.9, 0, 0.3), (0.9, 0.3, 0.5)))
    assert not transcriber.is_made_up(segment((0.7, 0, 0.4)))
    assert transcriber.is_made_up(segment((0.1, 0, 0.4)))
    assert transcriber.is_made_up(segment(*[(0.5, 9.38, 9.38)] * 6))


def test_one_thing_said_over_and_over_is_made_up_where_nobody_speaks_so_fast():
    spoken = [(0.9, 0, 0.3), (0.9, 0.3, 3.7)]
    assert transcriber.is_made_up(segment(*spoken, text="K" + "I" * 440))
    for text in ("Stop it! " * 9, "안 돼, " * 9, "Ha ha ha ha"):
        assert not transcriber.is_made_up(segment(*spoken, text=text))
