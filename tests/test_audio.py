"""Sound to log-mel spectrograms."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.preprocessing.audio import (
    F_MAX,
    F_MIN,
    FRAME_SECONDS,
    N_FFT,
    N_MELS,
    extract_speech,
    log_mel_spectrogram,
    trim_interval,
    wiener_denoise,
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
    expected = librosa.power_to_db(power, ref=power.max(), amin=1e-12, top_db=80) / 80 + 1
    log_mel = log_mel_spectrogram(waveform)
    assert log_mel.dtype == np.float16
    assert log_mel.shape == expected.shape == (128, 1 + RATE // 256)
    np.testing.assert_allclose(log_mel, expected, rtol=0, atol=2**-11)  # half a float16 step


def test_log_mel_spans_zero_to_one_whatever_the_loudness():
    loud, quiet = log_mel_spectrogram(chirp()), log_mel_spectrogram(0.01 * chirp())
    assert loud.max() == 1.0
    assert 0.0 <= loud.min() < 0.3
    np.testing.assert_allclose(loud, quiet, atol=2e-3)


def test_what_is_80_db_below_the_peak_is_the_floor():
    waveform = np.concatenate([tone(0.5), 10 ** (-100 / 20) * tone(0.5, 2000)])
    log_mel = log_mel_spectrogram(waveform.astype(np.float32))
    assert log_mel.min() == 0.0
    assert (log_mel[:, -20:-5] == 0.0).all()


def test_no_mel_band_is_empty():
    """White noise is in all of them; with n_fft 512, 26 of them would rest on a single bin."""
    log_mel = log_mel_spectrogram(noise(1.0)).astype(np.float32)
    assert (log_mel.mean(axis=1) > 0.5).all()
    bands = librosa.filters.mel(sr=RATE, n_fft=N_FFT, n_mels=N_MELS, fmin=F_MIN, fmax=F_MAX)
    assert (bands > 0).sum(axis=1).min() >= 2


def test_frame_t_is_centred_on_16_ms_times_t():
    waveform = silence(1.0)
    waveform[RATE // 2] = 1.0  # a click at 0.5 s
    loudest = log_mel_spectrogram(waveform).astype(np.float32).sum(axis=0).argmax()
    assert abs(loudest * FRAME_SECONDS - 0.5) <= FRAME_SECONDS / 2


def test_a_higher_tone_lies_in_a_higher_band():
    bands = [log_mel_spectrogram(tone(0.5, f)).astype(np.float32).mean(1).argmax() for f in HERTZ]
    centres = librosa.mel_frequencies(n_mels=130, fmin=80, fmax=8000)[1:-1][bands]
    np.testing.assert_allclose(centres, HERTZ, rtol=0.06)


# -- trimming ------------------------------------------------------------------------------------


def test_trimming_finds_the_tone_between_silences_within_a_frame():
    waveform = np.concatenate([silence(0.7), tone(1.0), silence(0.5)])
    first, last = trim_interval(waveform)
    window = 2048  # samples of an RMS frame: the tone is heard up to half of one outside
    assert 0.7 * RATE - window / 2 - 256 <= first <= 0.7 * RATE
    assert 1.7 * RATE <= last <= 1.7 * RATE + window / 2 + 256


@pytest.mark.parametrize(("decibel", "kept"), [(-14, True), (-26, False)])
def test_trimming_keeps_what_is_within_20_db_of_the_loudest(decibel, kept):
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
    [silence(1.0), silence(0), 5e-5 * tone(1.0, amplitude=1.0), np.full(100, np.nan, np.float32)],
    ids=["digital silence", "no samples", "below -80 dB", "only NaN"],
)
def test_silence_has_no_speech(waveform):
    assert extract_speech(waveform.astype(np.float32)) is None


@pytest.mark.parametrize("denoise", ["none", "wiener"])
def test_samples_that_are_no_numbers_count_as_silence(denoise):
    waveform = tone(1.0)
    broken = waveform.copy()
    broken[4000:4100] = np.nan
    broken[5000], broken[6000] = np.inf, -np.inf
    waveform[4000:4100] = waveform[5000] = waveform[6000] = 0.0
    speech, expected = extract_speech(broken, denoise), extract_speech(waveform, denoise)
    np.testing.assert_array_equal(speech.log_mel, expected.log_mel)
    assert np.isfinite(speech.log_mel).all()


@pytest.mark.parametrize("denoise", ["none", "wiener"])
def test_one_sample_is_one_frame(denoise):
    speech = extract_speech(np.array([0.5], np.float32), denoise)
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
    st.sampled_from(["none", "wiener"]),
)
def test_any_samples_give_none_or_values_from_zero_to_one(samples, denoise):
    speech = extract_speech(np.repeat(np.array(samples, np.float32), 50), denoise)
    if speech is not None:
        assert speech.log_mel.min() >= 0
        assert speech.log_mel.max() <= 1


# -- denoising -----------------------------------------------------------------------------------


def test_wiener_stays_finite_where_there_is_digital_silence():
    waveform = np.concatenate([tone(0.2), silence(0.2), tone(0.2)])
    denoised = wiener_denoise(waveform)
    assert denoised.dtype == np.float32
    assert np.isfinite(denoised).all()
    assert (denoised[4800:5000] == 0).all()
    assert (wiener_denoise(silence(0.2)) == 0).all()  # scipy's own answer is NaN


def test_wiener_takes_noise_off_and_leaves_a_tone():
    hiss, clean = noise(1.0, amplitude=0.02), tone(1.0, 200)
    assert np.std(wiener_denoise(hiss)) < 0.8 * np.std(hiss)
    assert np.std(wiener_denoise(clean)) == pytest.approx(np.std(clean), rel=0.02)


def test_denoising_is_used_when_asked_for():
    waveform = tone(0.5) + noise(0.5, amplitude=0.01)
    plain, denoised = extract_speech(waveform), extract_speech(waveform, "wiener")
    assert plain.log_mel.shape == denoised.log_mel.shape
    high = slice(100, 128)  # the filter smooths: the high bands fall
    assert denoised.log_mel[high].mean() < plain.log_mel[high].mean() - 0.01


@pytest.mark.parametrize("samples", [1, 300, 2048, 50_000, 1_100_000])
def test_trimming_is_librosas_own(samples):
    generator = np.random.default_rng(samples)
    loudness = np.interp(np.arange(samples), [0, samples / 2, samples], [0, 1, 0.001]) ** 2
    waveform = (loudness * generator.normal(0, 0.1, samples)).astype(np.float32) + 1e-6
    _, expected = librosa.effects.trim(waveform, top_db=20, frame_length=2048, hop_length=256)
    assert trim_interval(waveform) == tuple(expected)
