"""Odd and broken clips, as tiny as they can be; the decoder's part is what is tried."""

import os
import wave
from fractions import Fraction

import av
import numpy as np

from tests.media import noise, plain, silence, tone, write_clip

RATE = 16_000
VOICE = tone(0.3)
SMALL = [plain(40 * number, 32, 24) for number in range(4)]


def encode(path, codec, pix_fmt, width=32, height=24, count=3):
    """A video of grey pictures in any coding."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.options = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(plain(60 * number, width, height), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def floats(path, sound, rate=RATE, layout="mono"):
    """A sound file of 32-bit floats (channels, samples), which may be no numbers."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=rate, layout=layout)
        packed = np.ascontiguousarray(np.atleast_2d(sound).T.reshape(1, -1), np.float32)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def odd_clips(folder):
    """Whole clips of every kind that is not the usual one: name -> path."""
    nan = np.full(4800, np.nan, np.float32)
    makers = {
        "usual": lambda p: write_clip(p("mp4"), SMALL, VOICE, fps=10),
        "no_sound": lambda p: write_clip(p("mp4"), SMALL, fps=10),
        "no_picture": lambda p: write_clip(p("m4a"), sound=VOICE),
        "wave": lambda p: write_clip(p("wav"), sound=VOICE),
        "zeros": lambda p: write_clip(p("mp4"), SMALL, silence(0.3), fps=10),
        "nan": lambda p: floats(p("wav"), nan),
        "partly_nan": lambda p: floats(p("wav"), np.concatenate([VOICE, nan, VOICE])),
        "infinite": lambda p: floats(p("wav"), np.where(np.isnan(nan), np.inf, 0)),
        "huge": lambda p: floats(p("wav"), 1e30 * noise(0.3)),
        "8khz": lambda p: floats(p("wav"), tone(0.3, rate=8000), 8000),
        "96khz": lambda p: floats(p("wav"), tone(0.3, rate=96_000), 96_000),
        "6_channels": lambda p: floats(p("wav"), np.tile(VOICE, (6, 1)), layout="5.1"),
        "12_channels": lambda p: floats(p("wav"), np.tile(VOICE, (12, 1)), layout="7.1.4"),
        "50_ms": lambda p: write_clip(p("mp4"), SMALL[:1], tone(0.05), fps=20),
        "one_sample": lambda p: floats(p("wav"), np.ones(1)),
        "one_frame": lambda p: write_clip(p("mp4"), SMALL[:1], fps=10),
        "uneven": lambda p: write_clip(p("mp4"), SMALL, VOICE, times=[0.0, 0.01, 0.2, 0.21]),
        "late": lambda p: write_clip(p("mp4"), SMALL, VOICE, fps=10, sound_start=0.5),
        "turned": lambda p: write_clip(p("mp4"), SMALL, VOICE, fps=10, rotation=90),
        "1x1": lambda p: encode(p("mkv"), "ffv1", "yuv444p", 1, 1),
        "3x4001": lambda p: encode(p("mkv"), "ffv1", "yuv444p", 3, 4001, 2),
        "4001x3": lambda p: encode(p("mkv"), "ffv1", "yuv444p", 4001, 3, 2),
        "10_bit": lambda p: encode(p("mp4"), "libx264", "yuv420p10le"),
        "hevc": lambda p: encode(p("mp4"), "libx265", "yuv420p"),
        "grey": lambda p: encode(p("mkv"), "ffv1", "gray"),
    }
    return {
        name: make(lambda ending, name=name: folder / f"{name}.{ending}")
        for name, make in makers.items()
    }


NAMES = (
    "with spaces",
    "with 'single' and \"double\" quotes",
    "한국어 이름",
    "two\nlines",
    "comma,semicolon;tab\tpercent%s{}",
    "-dash",
    "..",
    "$(touch canary)",
    "line\u2028separator\x85",
    "n" * 240,
)


def tenths(content):
    """Cut at every tenth of its length."""
    return [content[: len(content) * tenth // 10] for tenth in range(10)]


def flipped(content, rng, count):
    """Copies with some bytes turned over: a few, or one in a hundred."""
    for number in range(count):
        copy = np.frombuffer(content, np.uint8).copy()
        size = int(rng.integers(1, 4)) if number % 2 else max(1, len(copy) // 100)
        places = rng.integers(0, len(copy), size)
        copy[places] ^= rng.integers(1, 256, size).astype(np.uint8)
        yield copy.tobytes()


def long_sound(path, seconds=12_000, channels=8, rate=8000):
    """A WAV file of hours of silence, which takes no room on the disk and long to read."""
    size = seconds * rate * channels
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(1)
        file.setframerate(rate)
    header = bytearray(path.read_bytes())
    header[4:8], header[40:44] = (n.to_bytes(4, "little") for n in (size + 36, size))
    path.write_bytes(header)
    os.truncate(path, len(header) + size)
