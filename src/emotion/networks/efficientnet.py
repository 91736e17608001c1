"""EfficientNet-B0..B7 (Tan & Le 2019, arXiv 1905.11946) on a one-channel log-mel image."""

import math
from dataclasses import dataclass

import torch
from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import efficientnet_params, url_map
from torch import Tensor, nn

from emotion.clock import N_MELS, STEP_FRAMES, STEP_SECONDS, whole_steps
from emotion.command_line import flag
from emotion.networks.attention import AttentionPooling, Head
from emotion.networks.padding import exporting, run_by_length
from emotion.networks.pretrained import load_published
from emotion.recipe import Part
from emotion.records import Stream

WHOLE_STRIDE = 32  # frames to one column of its last map
BATCH_NORM_MOMENTUM = 0.1


@dataclass(frozen=True)
class Options:
    """Of the network."""

    coeff: int = flag(0, "EfficientNet-B0..B7", "model", low=0, high=7)


def build_network(coeff: int, stride: int = WHOLE_STRIDE) -> EfficientNet:
    """The library's EfficientNet on one channel, without its classifier.

    With a ``stride`` of 16 or 8 it ends before the block that would halve the map further, and the
    last 1 x 1 convolution reads what is there.

    Its static SAME padding is computed for 128 x 32 but holds for every size of whole 32s: each
    strided convolution then meets an even size, and padding depends on nothing else. The published
    batch-norm momentum (0.01, made for 300,000 steps) leaves the running statistics of a short run
    far behind its weights, so that evaluation is at chance while training goes well; hence 0.1.
    """
    network = EfficientNet.from_name(
        f"efficientnet-b{coeff}",
        in_channels=1,
        include_top=False,
        image_size=(N_MELS, STEP_FRAMES),
    )
    if stride < WHOLE_STRIDE:
        _cut(network, stride)
    network.set_swish(memory_efficient=False)
    return made_ready(network)


def made_ready(network: nn.Module) -> nn.Module:
    """The library's network with our batch-norm momentum and paddings; see ``build_network``."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = BATCH_NORM_MOMENTUM
        elif isinstance(module, nn.Conv2d):
            _fold_padding(module)
    return network


def _cut(network: EfficientNet, stride: int) -> None:
    halving = [i for i, block in enumerate(network._blocks) if block._depthwise_conv.stride[0] == 2]
    kept = halving[int(math.log2(stride)) - 1]  # the stem halves too
    network._blocks = network._blocks[:kept]
    channels = network._blocks[-1]._block_args.output_filters
    network._conv_head = type(network._conv_head)(
        channels, network._conv_head.out_channels, 1, image_size=1, bias=False
    )


def _fold_padding(convolution: nn.Conv2d) -> None:
    """Let a convolution pad by itself where both sides get alike: the same numbers, no copy."""
    padding = convolution.static_padding
    if isinstance(padding, nn.ZeroPad2d):
        left, right, top, bottom = padding.padding
        if left == right and top == bottom:
            convolution.padding = (top, left)
            convolution.static_padding = nn.Identity()


class SpectrogramEncoder(nn.Module):
    """Log-mel (B, T, 128) to steps (B, T / 32, C): EfficientNet's map averaged over bands.

    A spectrogram shorter than ``frames`` is padded to it with zeros (the floor), in training and in
    evaluation alike; a longer one is run at its own multiple of 32. So a clip's answer does not
    depend on its neighbours, and evaluation meets the widths that training has met: a network
    trained at 160 frames and run at each clip's own length loses up to 10 points of UA (RAVDESS).

    With ``downsample`` above 1 the network sees means of so many by so many cells, a quarter of
    the work at 2; with ``stride`` below 32 it ends earlier. A column of its map is then more or
    less than a step, whose clock stays: columns are repeated or averaged.
    """

    def __init__(
        self,
        network: nn.Module,
        frames: int = STEP_FRAMES,
        downsample: int = 1,
        stride: int = WHOLE_STRIDE,
        moments: bool = False,
    ) -> None:
        """``moments``: steps hold the mean over bands of each channel and that of its square."""
        super().__init__()
        self.network = network
        self.downsample = downsample
        self.stride = stride
        self.frames = whole_steps(frames)
        self.moments = moments
        self.width: int = self.network._conv_head.out_channels * (2 if moments else 1)

    def forward(self, stream: Stream) -> Stream:
        """Steps of 0.512 s; masked where the clip has ended or has no voice."""
        mask = stream.mask[:, ::STEP_FRAMES]
        time = stream.time[:, ::STEP_FRAMES] + STEP_SECONDS / 2
        speech = stream.values.float().masked_fill(~stream.mask.unsqueeze(2), 0.0)
        return Stream(self._values(speech.transpose(1, 2).contiguous(), mask), mask, time)

    def picture(self, image: Tensor) -> Tensor:
        """A log-mel (B, 1, 128, T) of 0 to 1 in the units of the network's input."""
        return image

    def _values(self, speech: Tensor, mask: Tensor) -> Tensor:
        if not exporting():  # an exported model pads before
            width = max(self.frames, whole_steps(speech.shape[2]))
            speech = nn.functional.pad(speech, (0, width - speech.shape[2]))
        if self.training or exporting():
            values = self._steps(speech)
        else:
            lengths = (mask.sum(dim=1) * STEP_FRAMES).clamp(min=self.frames)
            values = run_by_length(self._steps, speech, lengths, dim=2)
        return nn.functional.pad(values, (0, 0, 0, mask.shape[1] - values.shape[1]))

    def _steps(self, speech: Tensor) -> Tensor:
        """(B, 128, T) -> (B, T / 32, C)."""
        steps = speech.shape[2] // STEP_FRAMES
        image = self.picture(speech.unsqueeze(1))
        if self.downsample > 1:
            multiple = self.stride * self.downsample
            width = (image.shape[3] + multiple - 1) // multiple * multiple
            image = nn.functional.pad(image, (0, width - image.shape[3]))
            image = nn.functional.avg_pool2d(image, self.downsample)
        channels = self.network.extract_features(image)
        values = channels.mean(dim=2)
        if self.moments:
            values = torch.cat([values, channels.float().square().mean(dim=2)], dim=1)
        values = values.transpose(1, 2)
        column = self.downsample * self.stride  # frames
        if column > STEP_FRAMES:
            values = values.repeat_interleave(column // STEP_FRAMES, dim=1)
        elif column < STEP_FRAMES:
            values = values.unflatten(1, (-1, STEP_FRAMES // column)).mean(dim=2)
        return values[:, :steps]


def build(part: Part) -> SpectrogramEncoder:
    """The encoder, for crops as long as the recipe says."""
    return SpectrogramEncoder(build_network(part.network.coeff), part.reading.speech_frames)


def build_head(part: Part, width: int, n_classes: int) -> Head:
    """Attention pooling; then the library's dropout and a linear layer."""
    return Head(AttentionPooling(width), width, n_classes, dropout_of(part.network.coeff))


def dropout_of(coeff: int) -> float:
    """Of the library's classifier."""
    return efficientnet_params(f"efficientnet-b{coeff}")[3]


def load_pretrained(encoder: SpectrogramEncoder, part: Part, pretrained: str) -> bool:
    """Load the published ImageNet weights into ``encoder``; True when they are in.

    The stem's RGB kernel is summed to one channel (the same answer as a grey image in all three),
    and the published classifier is dropped.

    Args:
        encoder: whose weights are replaced.
        part: which of the networks it is.
        pretrained: "true", "auto" (False and a line on stderr where they cannot be had) or "false".

    Raises:
        UserError: ``pretrained`` is "true" and the weights cannot be had.
    """

    def install(tensors: dict[str, Tensor]) -> None:
        kept = {name: value for name, value in tensors.items() if not name.startswith("_fc.")}
        stem = "_conv_stem.weight"
        kept[stem] = kept[stem].sum(dim=1, keepdim=True)
        own = encoder.network.state_dict()
        if encoder.stride < WHOLE_STRIDE:  # its last convolution reads another map: as drawn
            kept = {k: v for k, v in kept.items() if k in own and v.shape == own[k].shape}
            kept["_conv_head.weight"] = own["_conv_head.weight"]
        encoder.network.load_state_dict(kept)

    name = f"b{part.network.coeff}"
    url = url_map[f"efficientnet-{name}"]
    return load_published(url, f"ImageNet EfficientNet-{name.upper()}", pretrained, install)
