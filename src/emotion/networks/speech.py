"""Speech: EfficientNet-B0..B7 (Tan & Le 2019, arXiv 1905.11946) on a one-channel log-mel image."""

import math
from functools import partial

import torch
from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import efficientnet_params, url_map
from torch import Tensor, nn

from emotion.networks.attention import AttentionPooling, Head, MeanPooling, StatisticsPooling
from emotion.networks.options import ModelOptions
from emotion.networks.padding import exporting, run_by_length
from emotion.networks.pretrained import load_published
from emotion.networks.single import SingleModel
from emotion.records import Batch, Sequence

N_BANDS = 128
FRAMES_PER_STEP = 32  # EfficientNet halves the time axis five times
WHOLE_STRIDE = 32  # frames to one column of its last map
SECONDS_PER_STEP = FRAMES_PER_STEP * 0.016
BATCH_NORM_MOMENTUM = 0.1


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
        image_size=(N_BANDS, FRAMES_PER_STEP),
    )
    if stride < WHOLE_STRIDE:
        _cut(network, stride)
    network.set_swish(memory_efficient=False)
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


def step_mask(speech: Tensor, frames: Tensor | None) -> Tensor:
    """Which steps of a padded spectrogram (B, 128, T) start within the clip: (B, T / 32) bool."""
    starts = torch.arange(0, speech.shape[-1], FRAMES_PER_STEP, device=speech.device)
    if frames is None:
        return torch.ones_like(starts, dtype=torch.bool).expand(speech.shape[0], -1)
    # a clip of no frames keeps one step, so that every clip has a clock
    return starts.unsqueeze(0) < frames.clamp(min=1).unsqueeze(1)


def blank_padding(speech: Tensor, frames: Tensor | None) -> Tensor:
    """(B, 128, T) with zeros after each clip's end, whatever stood there."""
    if frames is None:
        return speech
    place = torch.arange(speech.shape[2], device=speech.device)
    return speech.masked_fill((place >= frames.unsqueeze(1)).unsqueeze(1), 0.0)


def step_time(n_steps: int, device: torch.device) -> Tensor:
    """Seconds at the middle of each step, (N,) float32."""
    return (torch.arange(n_steps, device=device) + 0.5) * SECONDS_PER_STEP


class SpeechEncoder(nn.Module):
    """Log-mel (B, 128, T) to a sequence (B, T / 32, C): EfficientNet's map averaged over bands.

    A spectrogram shorter than ``frames`` is padded to it with zeros (the floor), in training and in
    evaluation alike; a longer one is run at its own multiple of 32. So a clip's answer does not
    depend on its neighbours, and evaluation meets the widths that training has met: a network
    trained at 160 frames and run at each clip's own length loses up to 10 points of UA (RAVDESS).

    With ``pool`` above 1 the network sees means of ``pool`` x ``pool`` cells, a quarter of the work
    at 2; with ``stride`` below 32 it ends earlier. A column of its map is then more or less than
    a step of the sequence, whose clock stays: columns are repeated or averaged.
    """

    def __init__(
        self,
        coeff: int,
        frames: int = FRAMES_PER_STEP,
        pool: int = 1,
        stride: int = WHOLE_STRIDE,
        moments: bool = False,
    ) -> None:
        """``moments``: steps hold the mean over bands of each channel and that of its square."""
        super().__init__()
        self.network = build_network(coeff, stride)
        self.pool = pool
        self.stride = stride
        self.frames = -(-frames // FRAMES_PER_STEP) * FRAMES_PER_STEP
        self.moments = moments
        self.width: int = self.network._conv_head.out_channels * (2 if moments else 1)

    def forward(self, batch: Batch) -> Sequence:
        """Steps of 0.512 s; masked where the clip has ended or has no voice."""
        speech = blank_padding(batch.speech.float(), batch.speech_frames)
        mask = step_mask(speech, batch.speech_frames)
        values = self._values(speech, mask)
        time = step_time(mask.shape[1], speech.device).expand(mask.shape)
        if batch.speech_present is not None:
            mask = mask & batch.speech_present.unsqueeze(1)
        return Sequence(values, mask, time)

    def _values(self, speech: Tensor, mask: Tensor) -> Tensor:
        speech = nn.functional.pad(speech, (0, max(0, self.frames - speech.shape[2])))
        if self.training or exporting():
            values = self._steps(speech)
        else:
            lengths = (mask.sum(dim=1) * FRAMES_PER_STEP).clamp(min=self.frames)
            values = run_by_length(self._steps, speech, lengths, dim=2)
        return nn.functional.pad(values, (0, 0, 0, mask.shape[1] - values.shape[1]))

    def _steps(self, speech: Tensor) -> Tensor:
        """(B, 128, T) -> (B, T / 32, C)."""
        steps = speech.shape[2] // FRAMES_PER_STEP
        image = speech.unsqueeze(1)
        if self.pool > 1:
            multiple = self.stride * self.pool
            width = (image.shape[3] + multiple - 1) // multiple * multiple
            image = nn.functional.pad(image, (0, width - image.shape[3]))
            image = nn.functional.avg_pool2d(image, self.pool)
        channels = self.network.extract_features(image)
        values = channels.mean(dim=2)
        if self.moments:
            values = torch.cat([values, channels.float().square().mean(dim=2)], dim=1)
        values = values.transpose(1, 2)
        column = self.pool * self.stride  # frames
        if column > FRAMES_PER_STEP:
            values = values.repeat_interleave(column // FRAMES_PER_STEP, dim=1)
        elif column < FRAMES_PER_STEP:
            values = values.unflatten(1, (-1, FRAMES_PER_STEP // column)).mean(dim=2)
        return values[:, :steps]


def build_speech_encoder(options: ModelOptions) -> SpeechEncoder:
    """The encoder of ``options``."""
    return SpeechEncoder(
        options.coeff,
        options.speech_frames,
        options.speech_pool,
        options.speech_stride,
        moments=options.speech_model == "statistics",
    )


def build_speech_head(options: ModelOptions, width: int) -> Head:
    """Pooling by attention, or for ``vanilla`` the library's global average, or for ``statistics``
    mean and deviation; then the library's dropout and a linear layer.
    """
    poolings = {
        "attention": partial(AttentionPooling, width),
        "vanilla": MeanPooling,
        "statistics": StatisticsPooling,
    }
    pooling = poolings[options.speech_model]()
    dropout = efficientnet_params(f"efficientnet-b{options.coeff}")[3]
    return Head(pooling, width, options.n_classes, dropout)


def build_speech(options: ModelOptions) -> SingleModel:
    """The speech model: {"speech": (B, n_classes)}."""
    encoder = build_speech_encoder(options)
    return SingleModel("speech", encoder, build_speech_head(options, encoder.width))


def load_imagenet(encoder: SpeechEncoder, coeff: int, pretrained: str) -> bool:
    """Load the published ImageNet weights into ``encoder``; True when they are in.

    The stem's RGB kernel is summed to one channel (the same answer as a grey image in all three),
    and the published classifier is dropped.

    Args:
        encoder: of EfficientNet-B``coeff``.
        coeff: 0..7.
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

    url = url_map[f"efficientnet-b{coeff}"]
    return load_published(url, f"ImageNet EfficientNet-B{coeff}", pretrained, install)
