"""Frozen speech encoders: their states, the grid, copies at other speeds, and all three scripts.

The encoders are tiny ones with drawn weights, made here.
"""

import json
import os
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch

from emotion import registry
from emotion.errors import UserError
from emotion.frozen.speech_states import SpeechStates, States, parts_of, spread_layers
from emotion.inputs.audio import extract_speech
from emotion.inputs.feature import agree
from emotion.inputs.media import Interval, Media
from emotion.inputs.speech_states import (
    CELL_SECONDS,
    SpeechStatesFeature,
    at_speed,
    describe,
    to_cells,
)
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.prediction.options import PredictOptions
from emotion.prediction.reading import views_among
from emotion.prediction.run import predict
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.run import preprocess
from emotion.records import Clip, Labels
from tests.encoders import make_whisper
from tests.media import noise, silence, tone, write_clip
from tests.prediction import rows_of
from tests.training.runs import refused, run_of

transformers = pytest.importorskip("transformers")
NAMES = ("hap", "sad")
SOUND = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """Whisper with an encoder of two layers of 16."""
    return make_whisper(tmp_path_factory.mktemp("encoders") / "tiny-whisper")


@pytest.fixture(scope="module")
def wav2vec(tmp_path_factory):
    """A wav2vec 2.0 of two layers of 16."""
    folder = tmp_path_factory.mktemp("encoders") / "tiny-wav2vec"
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Ten sounds of a second; the first validation clip is silent."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(10):
        split = ("train", "val")[number % 5 == 4]
        label = NAMES[number % 2]
        path = folder / split / f"{number:03d}-{label}-{label}-{label}.mp4"
        path.parent.mkdir(exist_ok=True)
        sound = tone(1.0, 200 + 150 * (number % 2)) + noise(1.0)
        write_clip(path, None, 0 * sound if number == 4 else sound)
    return folder


def preprocessed(corpus, folder, whisper, **flags):
    flags = {"num_workers": 0, "vggface_weights": "none", **flags}
    options = PreprocessOptions(
        data_dir=str(corpus), features_dir=str(folder), speech_encoder=[whisper], **flags
    )
    assert preprocess(options) == 0
    return FeatureStore(folder)


@pytest.fixture(scope="module")
def store(corpus, whisper, tmp_path_factory):
    """Features with the states of both layers, a copy played faster and one at a lower level."""
    folder = tmp_path_factory.mktemp("made") / "features"
    return preprocessed(corpus, folder, f"{whisper}:1,2", speech_copies=["1.25", "level-20"])


def test_whisper_at_thirty_seconds_is_the_librarys_own(whisper):
    ours = SpeechStates(whisper, [1, 2])
    sound = np.tile(SOUND, 30)
    model = transformers.WhisperModel.from_pretrained(whisper).get_encoder()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(whisper)
    inputs = extractor(sound, sampling_rate=16000, return_tensors="pt").input_features
    with torch.inference_mode():
        theirs = model(inputs, output_hidden_states=True).hidden_states
    found = ours(sound)
    assert found.values.shape == (1500, 2, 16)
    for place, layer in enumerate((1, 2)):
        np.testing.assert_allclose(found.values[:, place], theirs[layer][0], atol=1e-5)
    np.testing.assert_allclose(found.time[[0, -1]], [0.01, 29.99])


def test_a_short_sound_is_run_at_its_own_length(whisper):
    states = SpeechStates(whisper, [2])(SOUND)
    assert states.values.shape == (50, 1, 16)
    longer = SpeechStates(whisper, [2])(np.pad(SOUND, (0, 16000)))
    assert np.abs(longer.values[:50] - states.values).max() > 1e-3  # padding would be heard


def test_wav2vec_states_are_the_librarys_own_and_lie_on_the_same_clock(wav2vec):
    states = SpeechStates(wav2vec, [1])(SOUND)
    model = transformers.Wav2Vec2Model.from_pretrained(wav2vec).eval()
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(wav2vec)
    inputs = extractor(SOUND, sampling_rate=16000, return_tensors="pt").input_values
    with torch.inference_mode():
        theirs = model(inputs, output_hidden_states=True).hidden_states[1][0]
    np.testing.assert_allclose(states.values[:, 0], theirs, atol=1e-6)
    np.testing.assert_allclose(states.time[:2], [0.0125, 0.0325], atol=1e-6)


def test_what_is_longer_than_thirty_seconds_is_run_in_equal_parts(whisper):
    parts = [(first, len(part)) for first, part in parts_of(np.zeros(61 * 16000, np.float32))]
    assert parts == [(0, 325333), (325333, 325333), (650666, 325334)]
    time = SpeechStates(whisper, [1])(np.tile(SOUND, 31)).time
    assert (np.diff(time) > 0).all()
    assert time[-1] == pytest.approx(31.0, abs=0.03)


def test_a_sound_of_no_length_has_states_too(whisper, wav2vec):
    for encoder in (whisper, wav2vec):
        values = SpeechStates(encoder, [1])(np.zeros(3, np.float32)).values
        assert len(values) > 0
        assert np.isfinite(values).all()


def test_the_default_layers_are_spread_over_the_lower_two_thirds():
    assert spread_layers(6) == [1, 2, 3, 4]
    assert spread_layers(12) == [2, 4, 6, 8]
    assert spread_layers(24) == [4, 8, 12, 16]
    assert spread_layers(1) == [1]


def test_a_cell_holds_the_mean_of_the_states_in_its_middle():
    time = np.arange(13) * 0.02 + 0.01
    values = np.arange(13.0)[:, None, None]
    vectors = to_cells(States(values, time), start=0.0)
    np.testing.assert_allclose(vectors.values[:, 0, 0], [2.5, 9.0])  # 0.128 s end within a step
    np.testing.assert_allclose(vectors.time, [0.064, 0.192], atol=1e-6)
    late = to_cells(States(values, time), start=1.0)
    assert late.time[0] == pytest.approx(7.5 * CELL_SECONDS, abs=1e-6)


def test_a_copy_is_shorter_higher_and_keeps_the_clips_times(store):
    quick = at_speed(tone(1.0, 400), Fraction(5, 4))
    assert len(quick) == pytest.approx(16000 * 4 / 5, abs=2)
    assert np.abs(np.fft.rfft(quick)).argmax() / (len(quick) / 16000) == pytest.approx(500, abs=2)
    record = next(r for r in store.read_manifest("train"))
    clip = StoredClip(store, "train", record)
    name = "speech:tiny-whisper"
    plain, copy = clip.read(name), clip.read(f"{name}@1.25")
    assert plain.values.dtype == np.float16
    assert plain.values.shape[1:] == copy.values.shape[1:] == (2, 16)
    assert copy.time[-1] == pytest.approx(plain.time[-1], abs=2 * CELL_SECONDS)
    assert not np.allclose(plain.values[:3], copy.values[:3])


def test_a_copy_made_worse_keeps_its_times_and_is_no_view(store, monkeypatch):
    """Training draws from it; --tta, which averages over what is as good, leaves it alone."""
    record = next(r for r in store.read_manifest("train"))
    clip, name = StoredClip(store, "train", record), "speech:tiny-whisper"
    plain, quiet = clip.read(name), clip.read(f"{name}@level-20")
    np.testing.assert_array_equal(plain.time, quiet.time)
    assert not np.allclose(plain.values, quiet.values)
    drawn = {
        registry.feature(name).reader(None, (2, 16))._version(clip, np.random.default_rng(n))
        for n in range(30)
    }
    assert drawn == {name, f"{name}@1.25", f"{name}@level-20"}
    assert views_among(registry.copies_of(name, record.states)) == [f"{name}@1.25"]


def test_noise_is_trimmed_as_it_would_be_in_a_clip(tmp_path):
    """The second before the voice and the one after it are not cut away where noise fills them."""
    waveform = np.concatenate([silence(1.0), tone(1.0, 400), silence(1.0)])
    path = write_clip(tmp_path / "a.wav", None, waveform)
    media = Media(Clip("a", "a", path, "all", None, Labels(), None))
    speech = extract_speech(media.waveform)
    media.speech = Interval(speech.start, speech.end, speech.log_mel.shape[1])
    plain, start = SpeechStatesFeature("speech:x")._heard(media)
    assert len(plain) / 16000 == pytest.approx(1.0, abs=0.3)
    assert start == pytest.approx(1.0, abs=0.15)
    noisy, begin = SpeechStatesFeature("speech:x@white0")._heard(media)
    assert (len(noisy) / 16000, begin) == (pytest.approx(3.0, abs=0.1), 0.0)


@pytest.mark.parametrize("copy", ["3", "0.1", "loud10", "nan", "inf", "1/0", "white", "1e99999999"])
def test_a_copy_that_nothing_is_called_is_told_in_a_line(copy, whisper):
    options = PreprocessOptions(speech_encoder=[whisper], speech_copies=[copy])
    with pytest.raises(UserError, match=f"--speech_copies {copy}: not a speed from 0.5 to 2"):
        describe(options)


def test_copies_that_nothing_hears_are_refused():
    with pytest.raises(UserError, match="a speech encoder hears them; give --speech_encoder too"):
        describe(PreprocessOptions(speech_copies=["babble10"]))


def test_a_silent_clip_has_none_and_says_so(store):
    states = {r.stem[:3]: r.state("speech:tiny-whisper") for r in store.read_manifest("val")}
    assert states["004"] == "silent"
    assert states["009"] == "ok"


def test_features_are_added_to_a_folder_that_is_there(corpus, whisper, wav2vec, tmp_path):
    folder = tmp_path / "features"
    preprocess(
        PreprocessOptions(
            data_dir=str(corpus), features_dir=str(folder), num_workers=0, vggface_weights="none"
        )
    )
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*/speech/*")}
    preprocessed(corpus, folder, whisper)
    both = preprocessed(corpus, folder, wav2vec, num_workers=1)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("*/speech/*")} == before
    settings = both.read_description()["settings"]
    assert {"speech:tiny-whisper", "speech:tiny-wav2vec"} <= settings.keys()
    one = next(folder.glob("train/speech_tiny-whisper/*.npz"))
    stamp = one.stat().st_mtime_ns
    next(folder.glob("train/speech_tiny-whisper/001*.npz")).unlink()
    preprocessed(corpus, folder, whisper)
    assert len(list(folder.glob("train/speech_tiny-whisper/*.npz"))) == 8
    assert one.stem.startswith("001") or one.stat().st_mtime_ns == stamp


def test_another_encoder_of_the_same_name_is_refused(store, corpus, whisper, tmp_path):
    other = make_whisper(tmp_path / "tiny-whisper", seed=1)
    with pytest.raises(UserError, match="were made with speech:tiny-whisper"):
        preprocessed(corpus, store.root, f"{other}:1,2", speech_copies=["1.25", "level-20"])
    settings = store.read_description()["settings"]["speech:tiny-whisper"]
    assert agree(settings, settings | {"source": "elsewhere"})
    assert not agree(settings, settings | {"fingerprint": "elsewhere"})


@pytest.mark.parametrize("model", ["linear", "mlp", "attention_lstm"])
def test_trained_on_states_a_file_is_answered_as_its_features_are(
    model, store, corpus, tmp_path, monkeypatch
):
    run = run_of(
        store.root, tmp_path, "speech", features=["tiny-whisper"], speech_model=model,
        n_epoch=2, learning_rate=1e-2,
    )  # fmt: skip
    files = sorted((corpus / "val").glob("*.mp4"))
    answers = {}
    for name, given in (
        ("files", {"input": [str(path) for path in files]}),
        ("features", {"features_dir": str(store.root), "split": "val"}),
    ):
        for views in (1, 3):
            output = tmp_path / f"{name}{views}.csv"
            options = PredictOptions(
                weights=[str(run)], output=str(output), probabilities=True, num_workers=0,
                tta=views, **given,
            )  # fmt: skip
            assert predict(options) == 0
            answers[name, views] = rows_of(output)
    assert len(answers["files", 1]) == 2
    for views in (1, 3):
        pairs = zip(answers["files", views], answers["features", views], strict=True)
        for one, other in pairs:
            assert one["Emotion"] == other["Emotion"]
            for emotion in NAMES if one["Emotion"] else ():
                assert float(one[emotion]) == pytest.approx(float(other[emotion]), abs=1e-3)
    spoken = [answers["files", views][1]["hap"] for views in (1, 3)]
    assert spoken[0] != spoken[1]  # the copy counts


def test_speaker_norms_reach_vectors_and_their_copies(store):
    feature = registry.feature("speech:tiny-whisper")
    speakers = FeatureStore(store.root)
    options = type("Given", (), {"normalise": "speaker"})
    with pytest.raises(UserError, match="names no speaker"):
        feature.reader(options, (2, 16), speakers)


def test_training_names_what_there_is(store, tmp_path):
    said = refused(store.root, tmp_path, "speech", features=["wavlm"])
    assert "--features wavlm" in said
    assert "speech:tiny-whisper" in said


def test_what_cannot_be_used_is_told_in_a_line(whisper, tmp_path, monkeypatch):
    options = PreprocessOptions(speech_encoder=[str(tmp_path)])
    with pytest.raises(UserError, match=f"--speech_encoder {tmp_path}: not a speech encoder"):
        describe(options)
    for layers, said in (("3", "it has only 2 layers"), ("last", "after the colon stand layers")):
        with pytest.raises(UserError, match=f"--speech_encoder .*:{layers}: {said}"):
            describe(PreprocessOptions(speech_encoder=[f"{whisper}:{layers}"]))
    twice = shutil.copytree(whisper, tmp_path / "again" / "tiny-whisper")
    options = PreprocessOptions(speech_encoder=[whisper, str(twice)])
    with pytest.raises(UserError, match="two encoders are called speech:tiny-whisper"):
        describe(options)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="nobody/nothing: no such folder, and not to be had"):
        SpeechStates("nobody/nothing", [])


def test_nothing_of_an_encoders_folder_is_run(whisper, tmp_path):
    folder = shutil.copytree(whisper, tmp_path / "evil")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}})
    )
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    SpeechStates(str(folder), [1])
    assert not (tmp_path / "ran").exists()
