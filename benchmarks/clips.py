"""Made-up clips to measure on: a portrait that sways before a blurred wall, and a hum."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import imageio_ffmpeg
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from tests.media import portrait

FPS = 30
AUDIO_RATE = 44_100


def ffmpeg(*arguments: str) -> bytes:
    """Run the ffmpeg binary that comes with moviepy, quietly; returns what it writes to ``-``."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def make_clip(
    path: Path, seconds: float, seed: int = 0, size: tuple[int, int] = (1280, 720)
) -> Path:
    """Write an H.264 + AAC clip of 30 frames per second, as an encoder makes it by default."""
    generator = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height = size
        video.pix_fmt, video.options = "yuv420p", {"crf": "23", "threads": "1"}
        audio = container.add_stream("aac", rate=AUDIO_RATE, layout="mono")
        for picture in _pictures(round(seconds * FPS), size, generator):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        for first, block in _blocks(_hum(seconds, generator)):
            frame = av.AudioFrame.from_ndarray(block[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = AUDIO_RATE, first
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def talking_head(source: Path, path: Path, seconds: float = 8.0, side: int = 512) -> Path:
    """The middle square of a film of a face, at ``side`` pixels and 25 frames per second, as often
    in a row as it takes; its sound kept.
    """
    look = f"crop='min(iw,ih)':'min(iw,ih)',scale={side}:{side},fps=25"
    coded = ["-c:v", "libx264", "-crf", "23", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    length = ["-t", f"{seconds}", "-vf", look, *coded, "-threads", "1", str(path)]
    ffmpeg("-stream_loop", "-1", "-i", str(source), *length)
    return path


def repeat_clip(clip: Path, path: Path, times: int) -> Path:
    """The same clip, ``times`` times in a row, without coding it again."""
    ffmpeg("-stream_loop", str(times - 1), "-i", str(clip), "-c", "copy", str(path))
    return path


def _pictures(
    count: int, size: tuple[int, int], generator: np.random.Generator
) -> Iterator[np.ndarray]:
    width, height = size
    rough = generator.normal(128, 40, (9, 16, 3)).astype(np.float32)
    wall = cv2.resize(rough, size, interpolation=cv2.INTER_CUBIC)
    person = portrait(round(0.86 * height)).astype(np.float32)
    phase = generator.uniform(0, 2 * np.pi, 2)
    for time in np.arange(count) / FPS:
        sway = 0.025 * height * np.sin(np.array([1.3, 2.1]) * time + phase)
        move = np.float32([[1, 0, 0.3 * width + sway[0]], [0, 1, 0.1 * height + sway[1]]])
        picture = wall.copy()
        cv2.warpAffine(person, move, size, picture, borderMode=cv2.BORDER_TRANSPARENT)
        picture += generator.normal(0, 2.5, (height, width, 1)).astype(np.float32)  # the sensor's
        yield np.clip(picture, 0, 255).astype(np.uint8)


def _hum(seconds: float, generator: np.random.Generator) -> np.ndarray:
    time = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    tones = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 12))
    return (0.15 * syllables * tones + generator.normal(0, 0.003, len(time))).astype(np.float32)


def _blocks(sound: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(sound), 1024):
        yield first, sound[first : first + 1024]
