"""What a pretrained speech encoder hears: hidden states of some of its layers, on the faces' grid.

A family of features, ``speech:<name of the encoder>``, several beside one another in one folder.
The encoder hears the trimmed speech. Kept as float16 (T, L, D): the mean of the states in each cell
of 0.128 s of the clip.

Copies are of the speech played faster or slower, ``speech:<name>@0.9``, which changes its pitch as
well: to an encoder it is another voice (Ko et al. 2015); or made worse, ``speech:<name>@babble10``.
Their times are those of the clip.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import resample_poly

from emotion import registry
from emotion.clock import FRAME_SECONDS, SAMPLE_RATE
from emotion.command_line import flag
from emotion.errors import UserError
from emotion.frozen.source import SPEECH_ENCODER, whole_numbers
from emotion.inputs.audio import trim_interval
from emotion.inputs.encoder_family import OfEncoder, by_name
from emotion.inputs.feature import SOURCE
from emotion.inputs.media import Media
from emotion.inputs.vectors import Options as Options
from emotion.inputs.vectors import Vectors, VoiceVectors
from emotion.inputs.worse_sound import NAMES, generator_of, worse
from emotion.lazy import Lazy

if TYPE_CHECKING:
    from emotion.frozen.speech_states import SpeechStates, States

networks = Lazy("emotion.frozen.speech_states")  # take torch along; states are read without
CELL_SECONDS = 8 * FRAME_SECONDS  # 0.128, as far apart as the crops of faces
SLOWEST, FASTEST = 0.5, 2.0


@dataclass(frozen=True)
class Extraction:
    """Which encoders, and what is kept of them."""

    speech_encoder: list[str] = flag(  # noqa: RUF009
        [],
        "pretrained speech encoders (Whisper, wav2vec 2.0, HuBERT, WavLM), by folder or by name on "
        "the Hugging Face hub (pip install -r requirements-text.txt); after a colon its layers, as "
        "in openai/whisper-base:2,3,4, else four of the lower two thirds",
        "features",
        type=str,
        predict=("",),
    )
    speech_copies: list[str] = flag(  # noqa: RUF009
        [],
        "further copies of what a speech encoder hears, which training draws from: so many times "
        "as fast, such as 0.9 1.1 (predict.py --tta averages over these), or worse: white20, "
        "babble10, level-20 (a kind and its decibels), telephone",
        "features",
        type=str,
    )


class SpeechStatesFeature(OfEncoder, VoiceVectors):
    """One member of the family; see the module."""

    flag = SPEECH_ENCODER
    most = 512  # a minute

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.worse = worse(self.copy)
        self.speed = Fraction(1) if self.worse else speed_of(self.copy or "1")

    @property
    def is_view(self) -> bool:
        """Whether it shows the clip as it is, at whatever speed."""
        return self.worse is None

    def load(self, source: str, wanted: dict[str, Any], device: str) -> "SpeechStates":
        """The encoder, for the layers that are described."""
        return open_encoder(source, tuple(wanted["layers"]), device)

    def extract(self, media: Media, settings: dict[str, Any], tools: "SpeechStates") -> Vectors:
        """The states of the speech.

        Raises:
            Absent: there is no sound, or no speech in it.
        """
        heard, start = self._heard(media)
        states = tools(at_speed(heard, self.speed))
        states = states._replace(time=states.time * float(self.speed))
        vectors = to_cells(states, start)
        if len(tools.layers) == 1:  # a vector a step, as those of other features
            vectors = vectors._replace(values=vectors.values[:, 0])
        return vectors

    def _heard(self, media: Media) -> tuple[np.ndarray, float]:
        """The speech (samples,) and when it begins; trimmed anew where the clip is made worse, for
        noise hides where it begins and ends.
        """
        spoken = media.spoken()
        if self.worse is None:
            return spoken, media.speech.start
        waveform = self.worse.make(media.waveform, generator_of(media.clip.stem, self.copy), ())
        first, last = trim_interval(waveform)
        return waveform[first:last], first / SAMPLE_RATE


def speed_of(copy: str) -> Fraction:
    """How many times as fast.

    Raises:
        UserError: it is no number, or out of bounds.
    """
    try:
        speed = float(copy)
    except ValueError:
        speed = 0.0
    if not SLOWEST <= speed <= FASTEST:
        raise UserError(
            f"--speech_copies {copy}: not a speed from {SLOWEST:g} to {FASTEST:g}, and not one of "
            f"{NAMES}"
        )
    return Fraction(speed).limit_denominator(100)


def at_speed(waveform: np.ndarray, speed: Fraction) -> np.ndarray:
    """Played so many times as fast; its pitch goes with it."""
    if speed == 1:
        return waveform
    return resample_poly(waveform, speed.denominator, speed.numerator).astype(np.float32)


def to_cells(states: "States", start: float) -> Vectors:
    """The mean of the states whose middle lies in a cell of the clip; ``start`` seconds into it."""
    cells, index = np.unique(
        np.floor((start + states.time) / CELL_SECONDS).astype(int), return_inverse=True
    )
    sums = np.zeros((len(cells), *states.values.shape[1:]))
    np.add.at(sums, index, states.values)
    means = sums / np.bincount(index)[:, None, None]
    time = ((cells + 0.5) * CELL_SECONDS).astype(np.float32)
    return Vectors(means.astype(np.float16), time, np.ones(len(cells), bool))


def describe(options: Extraction) -> dict[str, Any]:
    """What features.json says of each encoder that the flags name.

    Raises:
        UserError: one cannot be used, or two would share a folder, or there are copies without an
            encoder to hear them.
    """
    copies = dict.fromkeys(map(copy_name, options.speech_copies))
    if copies and not options.speech_encoder:
        raise UserError(f"--speech_copies: a speech encoder hears them; give {SPEECH_ENCODER} too")
    described = {}
    layers = dict(whole_numbers(SPEECH_ENCODER, source) for source in options.speech_encoder)
    for name, source in by_name("speech", SPEECH_ENCODER, list(layers)).items():
        encoder = open_encoder(source, layers[source], "cpu")
        for copy in dict.fromkeys(("", *copies)):
            described[name + copy] = {
                SOURCE: source,
                "fingerprint": encoder.fingerprint,
                "layers": encoder.layers,
                "cell": CELL_SECONDS,
            }
    return described


def copy_name(given: str) -> str:
    """What a copy is called, after the name of its features.

    Raises:
        UserError: nothing is called so.
    """
    if found := worse(given):
        return registry.COPY + found.name
    speed = speed_of(given)
    return f"{registry.COPY}{float(speed):g}" if speed != 1 else ""


@cache
def open_encoder(source: str, layers: tuple[int, ...], device: str) -> "SpeechStates":
    """Loaded once in each process."""
    return networks.SpeechStates(source, list(layers), device)


@cache
def feature(name: str) -> SpeechStatesFeature:
    """The member of this name."""
    return SpeechStatesFeature(name)
