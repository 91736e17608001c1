"""Reading media by timestamps. Frames carry their number as brightness."""

import numpy as np
import pytest

from emotion.inputs import video
from emotion.inputs.video import MediaError, probe, read_frames, read_waveform
from tests.media import face_frame, plain, silence, tone, write_clip

RATE = 16_000
GREYS = [20 + 10 * number for number in range(20)]


def numbered(count=20):
    return [plain(grey) for grey in GREYS[:count]]


def numbers(path, times):
    """Which frame is read at each of the times; None where there is none."""
    frames = list(read_frames(path, np.asarray(times, float)))
    assert len(frames) == len(times)
    return [None if f is None else round((float(f.mean()) - GREYS[0]) / 10) for f in frames]


def onset(waveform):
    """Seconds before the first loud sample."""
    return np.flatnonzero(np.abs(waveform) > 0.1)[0] / RATE


# -- pictures ------------------------------------------------------------------------------------


def test_frames_are_read_by_their_timestamps(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(), fps=25)
    assert numbers(path, np.arange(20) / 25) == list(range(20))
    assert numbers(path, np.arange(20) / 25 + 0.039) == list(range(20))


def test_frames_are_skipped_and_repeated_as_the_times_want(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(), fps=25)
    assert numbers(path, [0.0, 0.0, 0.01, 0.30, 0.31, 0.76]) == [0, 0, 0, 7, 7, 19]
    assert numbers(path, []) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_decoder_threads_do_not_change_the_frames(tmp_path, threads):
    path = write_clip(tmp_path / "a.mp4", numbered(), fps=25)
    times = np.arange(0, 0.8, 0.128)
    frames = list(read_frames(path, times, threads))
    assert [round((f.mean() - 20) / 10) for f in frames] == [0, 3, 6, 9, 12, 16, 19]


def test_frames_that_nothing_rests_on_are_decoded_only_where_wanted(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", numbered(), fps=25)
    every, few = np.arange(20) / 25, np.array([0.0, 0.31, 0.5])
    all_frames = list(read_frames(path, every))
    decoded = []
    real = video._decode
    monkeypatch.setattr(
        video, "_decode", lambda *given: (decoded.append(f.pts) or f for f in real(*given))
    )
    wanted = list(read_frames(path, few))
    assert len(decoded) < 15
    for frame, number in zip(wanted, [0, 7, 12], strict=True):
        np.testing.assert_array_equal(frame, all_frames[number])


def test_a_variable_frame_rate_is_read_by_time_and_not_by_counting(tmp_path):
    starts = [0.0, 0.04, 0.5, 0.52, 1.9, 2.0]
    path = write_clip(tmp_path / "a.mp4", numbered(6), times=starts)
    assert numbers(path, starts) == list(range(6))
    # A frame stays on screen until the next one comes, however long that takes.
    assert numbers(path, [0.03, 0.45, 0.51, 0.6, 1.2, 1.85, 1.95]) == [0, 1, 2, 3, 3, 3, 4]


def test_there_is_no_picture_before_a_late_video_and_after_its_end(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(5), tone(2.0), times=np.arange(5) / 25 + 0.6)
    assert numbers(path, [0.0, 0.3, 0.58, 0.61, 0.70, 0.77]) == [None, None, None, 0, 2, 4]
    assert numbers(path, [0.77, 1.6, 1.9]) == [4, None, None]


def test_time_0_is_the_first_timestamp_of_the_file(tmp_path):
    path = write_clip(
        tmp_path / "a.mp4", numbered(5), tone(1.0), times=np.arange(5) / 25 + 3, sound_start=3.2
    )
    assert numbers(path, np.arange(5) / 25 + 0.01) == list(range(5))
    assert onset(read_waveform(path)) == pytest.approx(0.2, abs=0.005)


def test_colours_are_rgb(tmp_path):
    path = write_clip(tmp_path / "a.mp4", [plain((220, 30, 60))])
    (frame,) = read_frames(path, np.zeros(1))
    assert frame.dtype == np.uint8
    assert frame.shape == (120, 160, 3)
    np.testing.assert_allclose(frame.mean(axis=(0, 1)), (220, 30, 60), atol=6)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotated_clip_is_read_upright(tmp_path, degrees):
    upright = face_frame()
    stored = np.rot90(upright, -degrees // 90)
    path = write_clip(tmp_path / "a.mp4", [stored], rotation=degrees)
    (frame,) = read_frames(path, np.zeros(1))
    assert frame.shape == upright.shape
    assert np.abs(frame.astype(int) - upright).mean() < 10


# -- sound ---------------------------------------------------------------------------------------


def test_sound_starts_and_ends_where_it_was_written(tmp_path):
    sound = np.concatenate([silence(0.3), tone(0.5), silence(0.2)])
    waveform = read_waveform(write_clip(tmp_path / "a.mp4", numbered(), sound))
    assert waveform.dtype == np.float32
    assert len(waveform) == pytest.approx(RATE, abs=1024)
    loud = np.flatnonzero(np.abs(waveform) > 0.1) / RATE
    assert loud[0] == pytest.approx(0.3, abs=0.005)
    assert loud[-1] == pytest.approx(0.8, abs=0.005)


def test_late_sound_keeps_its_time_and_silence_fills_the_gap(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(), tone(0.5), sound_start=0.7)
    waveform = read_waveform(path)
    assert onset(waveform) == pytest.approx(0.7, abs=0.005)
    assert (waveform[: round(0.6 * RATE)] == 0).all()
    assert len(waveform) == pytest.approx(1.2 * RATE, abs=1024)
    assert probe(path).duration == pytest.approx(1.2, abs=0.05)


def test_any_rate_and_channels_become_16_khz_mono(tmp_path):
    left, right = tone(1.0, 440, rate=44_100), silence(1.0, rate=44_100)
    path = write_clip(tmp_path / "a.mp4", numbered(), np.stack([left, right]), rate=44_100)
    waveform = read_waveform(path)
    assert len(waveform) == pytest.approx(RATE, abs=1024)
    spectrum = np.abs(np.fft.rfft(waveform[:RATE]))
    assert spectrum.argmax() == pytest.approx(440, abs=1)
    middle = waveform[2000:-2000]
    assert np.abs(middle).max() == pytest.approx(0.25, abs=0.02)  # the mean of both channels


def test_late_sound_of_another_rate_keeps_its_time(tmp_path):
    sound = np.stack([tone(0.5, rate=48_000)] * 2)
    path = write_clip(tmp_path / "a.mp4", numbered(), sound, rate=48_000, sound_start=0.4)
    assert onset(read_waveform(path)) == pytest.approx(0.4, abs=0.005)


def test_a_wav_file_is_read_sample_by_sample(tmp_path):
    path = write_clip(tmp_path / "a.wav", sound=tone(0.5))
    np.testing.assert_allclose(read_waveform(path), tone(0.5), atol=1e-4)


# -- what is there -------------------------------------------------------------------------------


def test_probe_tells_length_and_streams(tmp_path):
    both = write_clip(tmp_path / "both.mp4", numbered(), tone(0.8))
    mute = write_clip(tmp_path / "mute.mp4", numbered())
    blind = write_clip(tmp_path / "blind.mp4", sound=tone(0.8))
    assert probe(both) == (pytest.approx(0.8, abs=0.03), True, True)
    assert probe(mute) == (pytest.approx(0.8, abs=0.03), False, True)
    assert probe(blind) == (pytest.approx(0.8, abs=0.03), True, False)


@pytest.mark.parametrize("content", [b"", b"no film at all\n" * 50, bytes(5000)])
def test_what_is_no_media_is_an_error_of_one_line(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"^not readable as media: [^\n]+$"):
        probe(path)


def test_a_file_cut_short_is_an_error_of_one_line(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(), tone(0.8))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(MediaError, match=r"^[^\n]+$"):
        probe(path)


def test_streams_of_rubbish_are_errors_of_one_line(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(), tone(0.8))
    content = bytearray(path.read_bytes())
    first, last = content.index(b"mdat") + 4, content.index(b"moov") - 4
    rubbish = np.random.default_rng(0).integers(0, 256, last - first, np.uint8)
    content[first:last] = rubbish.tobytes()
    path.write_bytes(content)
    assert probe(path)[1:] == (True, True)
    with pytest.raises(MediaError, match=r"^audio stream broken: [^\n]+$"):
        read_waveform(path)
    with pytest.raises(MediaError, match=r"^video stream broken: [^\n]+$"):
        list(read_frames(path, np.zeros(1)))


def test_a_video_in_an_unknown_coding_is_an_error_and_its_sound_is_read(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(), tone(0.8))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"xyz0"))
    with pytest.raises(MediaError, match=r"^video stream broken: [^\n]+$"):
        list(read_frames(path, np.zeros(1)))
    assert np.abs(read_waveform(path)).max() > 0.4
