"""Reading media by container timestamps: sound as one waveform, frames at the times asked for.

PyAV stands in for moviepy's reader here: it gives every frame's own timestamp (moviepy counts
frames, which is wrong where the rate varies or a stream starts late) and converts only the frames
that are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emotion.clock import SAMPLE_RATE
from emotion.errors import first_line
from emotion.files import instead_of_file
from emotion.inputs.audio import finite
from emotion.lazy import Lazy

if TYPE_CHECKING:
    import av
else:
    av = Lazy("av")  # only who opens media needs ffmpeg
librosa = Lazy("librosa")

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpeg,mpegts,mpegvideo,mxf,nut,rm,dv,ivf,"
    "wav,w64,aiff,au,caf,flac,mp3,ogg,aac,amr,ac3,eac3,wv,ape,tta"
)
ONLY_FILES = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
MOST_SECONDS = 4 * 3600.0  # of a file: what its timestamps say may be days, of a few kilobytes
LATE_SECONDS = 0.05  # a gap in the sound smaller than this is jitter of the muxer
PLANES = 8  # channels of planar sound at most: PyAV reads past the eighth one's end
SHOW_SECONDS = 0.5  # a frame stays on screen this long when no other follows


class MediaError(Exception):
    """A media file, or one stream of it, that cannot be read; the message is one line."""


class MediaInfo(NamedTuple):
    """What a file holds, from its header."""

    duration: float  # seconds
    has_audio: bool
    has_video: bool


def probe(path: Path) -> MediaInfo:
    """Length and streams of a media file.

    Raises:
        MediaError: the file is not readable as media.
    """
    with _open(path) as container:
        video = [s for s in container.streams.video if not _is_cover(s)]
        duration = container.duration / av.time_base if container.duration else 0.0
        _check_length(duration)
        return MediaInfo(max(duration, 0.0), bool(container.streams.audio), bool(video))


def read_waveform(path: Path) -> np.ndarray:
    """The first audio stream as float32 (samples,), 16 kHz mono, sample 0 at time 0 of the file.

    Sound that starts late, or stops for a while, has silence in its place.

    Raises:
        MediaError: the stream cannot be decoded.
    """
    with _open(path) as container:
        stream = container.streams.audio[0]
        origin = _origin(container)
        blocks: list[np.ndarray] = []
        filled, rate = 0, 0
        resampler = av.AudioResampler(format="flt")
        for block, frame_rate, time in _audio_blocks(container, stream, resampler):
            rate = frame_rate
            gap = 0 if time is None else round((time - origin) * rate) - filled
            _check_length((filled + max(gap, 0) + len(block)) / rate)
            if gap > LATE_SECONDS * rate:
                blocks.append(np.zeros(gap, np.float32))
                filled += gap
            elif gap < 0 and filled == 0:
                block = block[-gap:]  # sound before time 0 belongs to no frame
            blocks.append(block)
            filled += len(block)
    waveform = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    del blocks  # as large again
    waveform = finite(waveform)
    if rate and rate != SAMPLE_RATE and waveform.size:
        waveform = librosa.resample(waveform, orig_sr=rate, target_sr=SAMPLE_RATE)
    return waveform


def read_frames(path: Path, times: np.ndarray, threads: int = 1) -> Iterator[np.ndarray | None]:
    """The picture on screen at each of the ascending ``times`` (seconds), decoded once, in order.

    Yields:
        uint8 (H, W, 3) RGB, upright; None where the video has not begun or is over.

    Raises:
        MediaError: the stream cannot be decoded.
    """
    stamps = _frame_stamps(path)
    with _open(path) as container:
        stream = _pictures(container)
        if stream.codec_context is None:
            raise MediaError("video stream broken: Decoder not found")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        origin = _origin(container)
        starts = stamps * float(stream.time_base) - origin
        on_screen = np.searchsorted(starts, np.asarray(times) + 1e-6, side="right") - 1
        needed = set(stamps[on_screen[on_screen >= 0]].tolist()) if stamps.size else None
        wanted = iter(times)
        time = next(wanted, None)
        shown: av.VideoFrame | None = None
        shown_until = -np.inf
        for frame in _decode(container, stream, needed):
            start = shown_until if frame.time is None else frame.time - origin
            while time is not None and time < start - 1e-6:
                yield _to_rgb(shown) if shown is not None else None
                time = next(wanted, None)
            if time is None:
                return
            shown, shown_until = frame, start + SHOW_SECONDS
        shown_until = max(shown_until, starts[-1]) if stamps.size else shown_until
        while time is not None:
            yield _to_rgb(shown) if shown is not None and time < shown_until else None
            time = next(wanted, None)


def frame_rate(path: Path) -> Fraction:
    """Pictures a second, on average.

    Raises:
        MediaError: it has no pictures.
    """
    with _open(path) as container:
        if all(_is_cover(stream) for stream in container.streams.video):
            raise MediaError("has no pictures")
        return _pictures(container).average_rate or Fraction(25)


def sound_frames(path: Path, rate: int) -> Iterator[av.AudioFrame]:
    """The first audio stream as it is to be heard: stereo, planar float, without a gap from time 0.

    Raises:
        MediaError: the stream cannot be decoded.
    """
    with _open(path) as container:
        stream = container.streams.audio[0]
        graph = av.filter.Graph()
        steps = [
            graph.add_abuffer(template=stream),
            graph.add("aresample", f"{rate}:async=1:first_pts=0"),  # silence where there is none
            graph.add("aformat", f"sample_fmts=fltp:channel_layouts=stereo:sample_rates={rate}"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*steps).configure()
        origin = round(_origin(container) / stream.time_base)
        for frame in chain(_decode(container, stream), [None]):
            if frame is not None and frame.pts is not None:
                frame.pts -= origin
            graph.push(frame)
            yield from _pulled(graph)


def _pulled(graph: av.filter.Graph) -> Iterator[av.AudioFrame]:
    """All frames that are ready."""
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return


def _check_length(seconds: float) -> None:
    if seconds > MOST_SECONDS:
        hours = f"{seconds / 3600:.1f} h by its timestamps"
        raise MediaError(f"lasts {hours}, more than {MOST_SECONDS / 3600:.0f}; cut it")


def _frame_stamps(path: Path) -> np.ndarray:
    """Timestamps of all frames, ascending, without decoding; none where some frame has none."""
    with _open(path) as container:
        try:
            packets = container.demux(_pictures(container))
            stamps = [packet.pts for packet in packets if packet.size]
        except (av.FFmpegError, OSError, ValueError):  # decoding will say what is wrong
            stamps = []
    return np.sort(np.array([] if None in stamps else stamps, np.int64))


def _open(path: Path) -> av.container.InputContainer:
    """A file, and nothing else: ffmpeg would fetch ``http:...`` and read the files a list names."""
    try:
        if instead := instead_of_file(path.stat().st_mode):
            raise MediaError(f"not readable as media: {instead}, not a file")
        # absolute: a name such as 12:30.wav reads like a protocol
        return av.open(str(path.absolute()), metadata_errors="ignore", container_options=ONLY_FILES)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"not readable as media: {_reason(error)}") from error


def _decode(
    container: av.container.InputContainer, stream: av.stream.Stream, needed: set[int] | None = None
) -> Iterator:
    """Frames in order; all of them, or those of the timestamps ``needed`` and what they rest on.

    A frame that no other refers to (half of them in an ordinary H.264 file) costs nothing when it
    is not wanted itself.
    """
    try:
        for packet in container.demux(stream):
            if needed is not None:
                skip = packet.pts is not None and packet.pts not in needed
                stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"
            yield from packet.decode()
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{stream.type} stream broken: {_reason(error)}") from error


def _audio_blocks(
    container: av.container.InputContainer, stream: av.stream.Stream, resampler: av.AudioResampler
) -> Iterator[tuple[np.ndarray, int, float | None]]:
    """Mono float32 blocks with their sample rate and time in seconds."""
    for frame in _decode(container, stream):
        time = frame.time
        if frame.format.name == "fltp" and frame.layout.nb_channels <= PLANES:
            # of AAC, MP3, Opus and Vorbis, which need no conversion: half the time
            yield frame.to_ndarray().mean(axis=0, dtype=np.float32), frame.sample_rate, time
            continue
        for packed in resampler.resample(frame):
            # not planar, see PLANES
            channels = packed.to_ndarray().reshape(-1, packed.layout.nb_channels)
            yield channels.mean(axis=1, dtype=np.float32), packed.sample_rate, time


def _origin(container: av.container.InputContainer) -> float:
    """Timestamp of the file's time 0, in seconds."""
    return (container.start_time or 0) / av.time_base


def _pictures(container: av.container.InputContainer) -> av.video.VideoStream:
    return next(stream for stream in container.streams.video if not _is_cover(stream))


def _is_cover(stream: av.stream.Stream) -> bool:
    """Whether a video stream is a still picture attached to a sound file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    picture = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, quarter_turns)) if quarter_turns else picture


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
