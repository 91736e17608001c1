"""Writing a film: pictures at a steady rate, and the sound of another file beside them."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from emotion.inputs.video import MediaError, probe, sound_frames
from emotion.lazy import Lazy

av = Lazy("av")
LOOK = {"crf": "20", "preset": "veryfast"}  # as good as the eye asks for
SOUND_RATE = 48_000


def write_film(
    file: BinaryIO, pictures: Iterable[np.ndarray], rate: Fraction, sound_of: Path
) -> None:
    """An mp4 of H.264 and, where there is sound, AAC.

    Args:
        file: to write to.
        pictures: uint8 (H, W, 3) RGB, all of one size, of which H and W are even.
        rate: pictures a second.
        sound_of: the file whose sound is kept, from its time 0 on.

    Raises:
        MediaError: the sound cannot be decoded, or nothing here writes H.264.
    """
    if "libx264" not in av.codecs_available:
        raise MediaError("this PyAV writes no H.264; pip install av")
    has_sound = probe(sound_of).has_audio
    with av.open(file, "w", format="mp4") as output:
        film = output.add_stream("libx264", rate=rate, options=LOOK)
        film.pix_fmt = "yuv420p"
        sound = output.add_stream("aac", rate=SOUND_RATE, layout="stereo") if has_sound else None
        for number, picture in enumerate(pictures):
            if not number:
                film.height, film.width = picture.shape[:2]
            output.mux(film.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(film.encode(None))
        if sound is not None:
            for frame in sound_frames(sound_of, SOUND_RATE):
                output.mux(sound.encode(frame))
            output.mux(sound.encode(None))
