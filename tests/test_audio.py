"""Sound to log-mel spectrograms."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion.clock import FRAME_SECONDS, N_MELS
from emotion.inputs.audio import (
    F_MAX,
    F_MIN,
    N_FFT,
    at_its_level,
    extract_speech,
    frame_levels,
    log_mel_spectrogram,
    trim_interval,
)
from tests.media import noise, silence, tone

pytestmark = pytest.mark.filterwarnings("ignore:n_fft=.* is too large")
RATE = 16_000
HERTZ = (200, 800, 2500, 6000)


def chirp(seconds=1.0):
    """All frequencies of the spectrogram in turn, over a little noise."""
    sweep = librosa.chirp(fmin=60, fmax=7900, sr=RATE, duration=seconds)
    return (0.3 * sweep + noise(seconds, amplitude=0.003)).astype(np.float32)


def test_log_mel_equals_librosa_called_directly():
    waveform = chirp()
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=16_000,
        n_fft=1024,
        hop_length=256,
        window="hann",
        power=2.0,
        n_mels=128,
        fmin=80,
        fmax=8000,
        htk=False,
        norm="slaney",
    )
    level = np.sort(power.max(axis=0))[-20]  # 0.3 s of frames are as loud
    decibel = librosa.power_to_db(power, ref=level, amin=1e-12, top_db=None)
    expected = np.clip(decibel / 80 + 1, 0, 1)
    log_mel, peak_db = log_mel_spectrogram(waveform)
    assert peak_db == pytest.approx(10 * np.log10(level), abs=1e-3)
    assert log_mel.dtype == np.float16
    assert log_mel.shape == expected.shape == (128, 1 + RATE // 256)
    np.testing.assert_allclose(log_mel, expected, rtol=0, atol=2**-11)  # half a float16 step


def test_log_mel_spans_zero_to_one_whatever_the_loudness():
    (loud, peak_db), (quiet, less) = (log_mel_spectrogram(x * chirp()) for x in (1, 0.01))
    assert peak_db - less == pytest.approx(40, abs=0.01)
    assert loud.max() == 1.0
    assert 0.0 <= loud.min() < 0.3
    np.testing.assert_allclose(loud, quiet, atol=2e-3)


def test_what_is_80_db_below_the_peak_is_the_floor():
    waveform = np.concatenate([tone(0.5), 10 ** (-100 / 20) * tone(0.5, 2000)])
    log_mel, _ = log_mel_spectrogram(waveform.astype(np.float32))
    assert log_mel.min() == 0.0
    assert (log_mel[:, -20:-5] == 0.0).all()


def test_no_mel_band_is_empty():
    """White noise is in all of them; with n_fft 512, 26 of them would rest on a single bin."""
    log_mel = log_mel_spectrogram(noise(1.0))[0].astype(np.float32)
    assert (log_mel.mean(axis=1) > 0.5).all()
    bands = librosa.filters.mel(sr=RATE, n_fft=N_FFT, n_mels=N_MELS, fmin=F_MIN, fmax=F_MAX)
    assert (bands > 0).sum(axis=1).min() >= 2


def test_frame_t_is_centred_on_16_ms_times_t():
    waveform = noise(1.0, amplitude=0.5)
    waveform[RATE // 2] = 20.0  # a click at 0.5 s
    loudest = log_mel_spectrogram(waveform)[0].astype(np.float32).sum(axis=0).argmax()
    assert abs(loudest * FRAME_SECONDS - 0.5) <= FRAME_SECONDS / 2


def test_a_higher_tone_lies_in_a_higher_band():
    bands = [
        log_mel_spectrogram(tone(0.5, f))[0].astype(np.float32).mean(1).argmax() for f in HERTZ
    ]
    centres = librosa.mel_frequencies(n_mels=130, fmin=80, fmax=8000)[1:-1][bands]
    np.testing.assert_allclose(centres, HERTZ, rtol=0.06)


# -- trimming ------------------------------------------------------------------------------------


def test_trimming_finds_the_tone_between_silences_within_a_frame():
    waveform = np.concatenate([silence(0.7), tone(1.0), silence(0.5)])
    first, last = trim_interval(waveform)
    window = 2048  # samples of an RMS frame: the tone is heard up to half of one outside
    assert 0.7 * RATE - window / 2 - 256 <= first <= 0.7 * RATE
    assert 1.7 * RATE <= last <= 1.7 * RATE + window / 2 + 256


@pytest.mark.parametrize(("decibel", "kept"), [(-12, True), (-26, False)])
def test_trimming_keeps_what_is_within_17_db_of_the_level(decibel, kept):
    quiet = 10 ** (decibel / 20) * tone(1.0)
    first, _ = trim_interval(np.concatenate([quiet, tone(1.0)]).astype(np.float32))
    assert (first == 0) == kept


def test_speech_tells_the_interval_that_its_frames_cover():
    speech = extract_speech(np.concatenate([silence(0.8), tone(0.6), silence(0.8)]))
    assert speech.start == pytest.approx(0.8, abs=0.085)
    assert speech.end == pytest.approx(1.4, abs=0.085)
    frames = speech.log_mel.shape[1]
    assert frames == 1 + int((speech.end - speech.start) * RATE) // 256


# -- input that is none --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "waveform",
    [
        silence(1.0),
        silence(0),
        5e-4 * tone(1.0, amplitude=1.0),
        noise(2.0, amplitude=1e-4),
        np.full(100, np.nan, np.float32),
    ],
    ids=["digital silence", "no samples", "a tone of -69 dB", "noise of -80 dB", "only NaN"],
)
def test_silence_has_no_speech(waveform):
    assert extract_speech(waveform.astype(np.float32)) is None


def test_samples_that_are_no_numbers_count_as_silence():
    waveform = tone(1.0)
    broken = waveform.copy()
    broken[4000:4100] = np.nan
    broken[5000], broken[6000] = np.inf, -np.inf
    waveform[4000:4100] = waveform[5000] = waveform[6000] = 0.0
    speech, expected = extract_speech(broken), extract_speech(waveform)
    np.testing.assert_array_equal(speech.log_mel, expected.log_mel)
    assert np.isfinite(speech.log_mel).all()


def test_one_sample_is_one_frame():
    speech = extract_speech(np.array([0.5], np.float32))
    assert speech.log_mel.shape == (128, 1)
    assert np.isfinite(speech.log_mel).all()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([np.nan, np.inf, -np.inf]), st.floats(-1, 1, width=32), st.just(0.0)
        ),
        max_size=40,
    ),
)
def test_any_samples_give_none_or_values_from_zero_to_one(samples):
    speech = extract_speech(np.repeat(np.array(samples, np.float32), 50))
    if speech is not None:
        assert speech.log_mel.min() >= 0
        assert speech.log_mel.max() <= 1


@pytest.mark.parametrize("samples", [300, 2048, 50_000, 1_100_000])
def test_levels_are_those_of_librosas_frames(samples):
    generator = np.random.default_rng(samples)
    waveform = generator.normal(0, 0.1, samples).astype(np.float32)
    expected = librosa.feature.rms(y=waveform, frame_length=2048, hop_length=256)[0]
    np.testing.assert_allclose(frame_levels(waveform), 20 * np.log10(expected), atol=1e-3)


# -- what is loud for a moment, or never ---------------------------------------------------------


def click(waveform, second, seconds=0.01):
    clicked = waveform.copy()
    first = round(second * RATE)
    clicked[first : first + round(seconds * RATE)] = 1.0
    return clicked


def voice(seconds):
    """Syllables: bursts of tones 40 dB below a click, with pauses between them."""
    envelope = np.abs(np.sin(np.arange(round(seconds * RATE)) / RATE * 2 * np.pi * 2))
    return (0.05 * envelope * tone(seconds, 300, amplitude=1.0)).astype(np.float32)


@pytest.mark.parametrize("seconds", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("place", [0.05, 0.5, 0.9])
def test_a_click_takes_no_speech_away_and_hardly_darkens_it(seconds, place):
    clean = np.concatenate([silence(0.5), voice(seconds), silence(0.5)])
    loud = click(clean, 0.5 + place * seconds)
    whole, clicked = extract_speech(clean), extract_speech(loud)
    common = min(whole.end, clicked.end) - max(whole.start, clicked.start)
    assert common >= 0.95 * (whole.end - whole.start)
    assert clicked.peak_db == pytest.approx(whole.peak_db, abs=1.5)


def test_a_word_in_ten_seconds_of_noise_decides_the_level():
    waveform = noise(10.0, amplitude=0.001)
    waveform[5 * RATE : 5 * RATE + RATE // 2] += tone(0.5)
    first, last = trim_interval(waveform)
    assert first / RATE == pytest.approx(5.0, abs=0.1)
    assert last / RATE == pytest.approx(5.5, abs=0.1)


def test_a_click_in_silence_is_no_voice():
    assert extract_speech(click(silence(2.0), 1.0)) is None


def test_a_spectrogram_at_its_level_tells_loud_from_quiet():
    loud, quiet = (extract_speech((x * chirp()).astype(np.float32)) for x in (1, 0.1))
    found = [at_its_level(s.log_mel.astype(np.float32), s.peak_db) for s in (loud, quiet)]
    inside = (found[0] > 0.3) & (found[1] > 0.3)
    assert (found[0] - found[1])[inside].mean() == pytest.approx(20 / 120, abs=0.01)
    assert all(values.min() >= 0 and values.max() <= 1 for values in found)
