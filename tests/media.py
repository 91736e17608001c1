"""Tiny real media for the tests, written with PyAV: H.264 + AAC in mp4, or sound alone."""

from fractions import Fraction
from functools import cache

import av
import cv2
import numpy as np
from matplotlib.cbook import get_sample_data

CLOCK = Fraction(1, 90_000)  # ticks of the frames' timestamps
QUARTER_TURN = {  # display matrices of a track header, counter-clockwise degrees on screen
    90: (0, -1, 0, 1, 0, 0),
    180: (-1, 0, 0, 0, -1, 0),
    270: (0, 1, 0, -1, 0, 0),
}
PORTRAIT_FACE = (0.333, 0.187, 0.689, 0.563)  # MTCNN's box, as shares of the portrait's sides


def tone(seconds, frequency=440.0, rate=16_000, amplitude=0.5):
    """A sine, float32 (samples,)."""
    times = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * times)).astype(np.float32)


def silence(seconds, rate=16_000):
    """Digital silence, float32 (samples,)."""
    return np.zeros(round(seconds * rate), np.float32)


def noise(seconds, rate=16_000, amplitude=0.1, seed=0):
    """White noise, float32 (samples,)."""
    drawn = np.random.default_rng(seed).normal(0, amplitude, round(seconds * rate))
    return np.clip(drawn, -1, 1).astype(np.float32)


def plain(colour, width=160, height=120):
    """A picture of one RGB colour (or grey level), uint8 (H, W, 3)."""
    return np.full((height, width, 3), colour, np.uint8)


@cache
def portrait(height):
    """The public-domain portrait that matplotlib ships, uint8 (height, W, 3) RGB."""
    with get_sample_data("grace_hopper.jpg") as file:
        coded = np.frombuffer(file.read(), np.uint8)
    picture = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    width = round(height * picture.shape[1] / picture.shape[0])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def paste_portrait(frame, left, top, height):
    """A copy of the frame with the portrait in it; the face is 0.38 of ``height`` tall."""
    picture = portrait(height)
    frame = frame.copy()
    frame[top : top + height, left : left + picture.shape[1]] = picture
    return frame


def face_box(left, top, height):
    """Where the face of a pasted portrait is: float32 (left, top, right, bottom)."""
    width = portrait(height).shape[1]
    shares = np.array(PORTRAIT_FACE) * [width, height, width, height]
    return (shares + np.array([left, top, left, top])).astype(np.float32)


def face_frame(left=20, top=0, height=180, width=240):
    """A picture with one face, uint8 (180, 240, 3)."""
    return paste_portrait(plain(90, width, height=180), left, top, height)


def write_clip(
    path,
    frames=None,
    sound=None,
    *,
    fps=25,
    times=None,
    rate=16_000,
    sound_start=0.0,
    rotation=0,
):
    """Write a media file and return its path.

    Args:
        path: its ending decides the container.
        frames: pictures uint8 (H, W, 3) RGB, even sides; None for no video stream.
        sound: float32 (samples,) or (channels, samples) at ``rate``; None for no audio stream.
        fps: of the frames.
        times: seconds of each frame, in place of ``fps``.
        rate: of the sound, Hz.
        sound_start: seconds, timestamp of the first sample.
        rotation: degrees that players turn the picture counter-clockwise.
    """
    with av.open(str(path), "w") as container:
        video = frames is not None and _video_stream(container, frames[0], fps)
        audio = None
        if sound is not None:
            sound = np.atleast_2d(sound)
            audio = _audio_stream(container, path, rate, len(sound))
        if video:
            times = np.arange(len(frames)) / fps if times is None else times
            _encode_video(container, video, frames, times)
        if audio:
            _encode_audio(container, audio, sound, rate, sound_start)
    if rotation:
        _turn(path, rotation)
    return path


def _video_stream(container, picture, fps):
    stream = container.add_stream("libx264", rate=fps)
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = CLOCK
    stream.options = {"preset": "veryfast", "crf": "10", "threads": "1"}
    return stream


def _audio_stream(container, path, rate, channels):
    codec = "pcm_s16le" if path.suffix == ".wav" else "aac"
    layout = {1: "mono", 2: "stereo"}[channels]
    return container.add_stream(codec, rate=rate, layout=layout)


def _encode_video(container, stream, frames, times):
    for picture, time in zip(frames, times, strict=True):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = round(time / CLOCK), CLOCK
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _encode_audio(container, stream, sound, rate, start):
    for first in range(0, sound.shape[1], 1024):
        block = np.ascontiguousarray(sound[:, first : first + 1024], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(start * rate) + first
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _turn(path, degrees):
    """Patch the display matrix of the first track header (the video is written first)."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    a, b, u, c, d, v = QUARTER_TURN[degrees]
    values = (a << 16, b << 16, u, c << 16, d << 16, v, 0, 0, 1 << 30)
    content[matrix : matrix + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in values)
    path.write_bytes(bytes(content))
