"""Another speech encoder in one file: a small convolutional network over the mel bands.

python train.py --extend examples/extend/encoder.py --mode speech --speech_model conv1d ...
"""

from dataclasses import dataclass

from torch import nn

from emotion.clock import STEP_FRAMES, STEP_SECONDS
from emotion.command_line import flag
from emotion.networks.attention import AttentionPooling, Head
from emotion.recipe import Part
from emotion.records import Stream
from emotion.registry import SPECTROGRAM, EncoderLine

ENCODERS = {"conv1d": EncoderLine(SPECTROGRAM, __name__)}


@dataclass(frozen=True)
class Options:
    """What is written here becomes a flag of train.py and is kept in the checkpoint."""

    channels: int = flag(64, "of the convolutions of conv1d", "model", low=8, high=1024)


class ConvEncoder(nn.Module):
    """Frames (B, T, 128) to a step for every 32 of them, (B, T / 32, channels).

    A clip's answer may not depend on its neighbours in a batch, so that what stands in a masked
    frame is blanked before every layer that looks sideways.
    """

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__()
        self.width = channels
        self.layers = nn.ModuleList(
            nn.Conv1d(before, channels, 5, padding=2) for before in (bands, channels, channels)
        )

    def forward(self, stream: Stream) -> Stream:
        """Means over the frames of each step."""
        beyond = -stream.mask.shape[1] % STEP_FRAMES
        mask = nn.functional.pad(stream.mask, (0, beyond))
        values = nn.functional.pad(stream.values, (0, 0, 0, beyond)).transpose(1, 2)
        blank = ~mask.unsqueeze(1)
        for layer in self.layers:
            values = layer(values.masked_fill(blank, 0.0)).relu()
        values = values.masked_fill(blank, 0.0).unflatten(2, (-1, STEP_FRAMES)).sum(-1)
        count = mask.unflatten(1, (-1, STEP_FRAMES)).sum(-1)
        steps = values.transpose(1, 2) / count.clamp(min=1).unsqueeze(2)
        middle = stream.time[:, ::STEP_FRAMES] + STEP_SECONDS / 2
        return Stream(steps, count > 0, middle)


def build(part: Part) -> ConvEncoder:
    """The encoder of a recipe's part."""
    return ConvEncoder(part.width, part.network.channels)


def build_head(part: Part, width: int, n_classes: int) -> Head:
    """How its steps are pooled and classified."""
    return Head(AttentionPooling(width), width, n_classes, dropout=0.2)
