"""Sound made worse on purpose: how far, and what it is called."""

import numpy as np
import pytest

from emotion.inputs import worse_sound
from emotion.inputs.worse_sound import generator_of, power_of, worse

RATE = 16000
SOUND = np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE).astype(np.float32) * 0.3


@pytest.mark.parametrize("ratio", [20, 10, 0])
@pytest.mark.parametrize("kind", ["white", "babble"])
def test_noise_is_so_far_below_the_speech(kind, ratio):
    """Pauses are no speech: half a clip of silence changes nothing."""
    sound = np.concatenate([SOUND, np.zeros_like(SOUND)])
    made = worse(f"{kind}{ratio}").make(sound, generator_of("a"), ())
    noise = (made - sound).astype(np.float64)
    measured = 10 * np.log10(power_of(sound) / power_of(noise))
    assert measured == pytest.approx(ratio, abs=0.3)
    assert not np.array_equal(made, sound)


def test_level_and_telephone():
    assert np.allclose(worse("level-20").make(SOUND, None, ()), SOUND / 10)
    low = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE).astype(np.float32)
    telephone = worse("telephone").make
    assert np.abs(telephone(low)[2000:-2000]).max() < 0.05
    assert np.abs(telephone(SOUND)[2000:-2000]).max() == pytest.approx(0.3, abs=0.02)


def test_the_noise_of_a_clip_is_the_same_each_time():
    white = worse("white10").make
    one, again, other = (white(SOUND, generator_of(name), ()) for name in ("a", "a", "b"))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_one_sound_has_one_name():
    assert {worse(name).name for name in ("white20", "white20.0", "white020")} == {"white20"}


@pytest.mark.parametrize(
    "name",
    ["", "0.9", "white", "white1e3", "babble-", "power_of", "hum10", "white-9999", "white\uff12"],
)
def test_other_names_are_none(name):
    assert worse(name) is None


def test_babble_is_of_the_others_where_there_are_any(monkeypatch, tmp_path):
    """A voice of one pitch among others of another: the second is heard, the own one backwards
    is not.
    """
    other = np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE).astype(np.float32)
    monkeypatch.setattr(worse_sound, "_heard", lambda path: other)
    made = worse_sound.babble(SOUND, generator_of("a"), [tmp_path], 0)
    spectrum = np.abs(np.fft.rfft(made - SOUND))
    assert spectrum.argmax() / 2 == pytest.approx(300, abs=1)
