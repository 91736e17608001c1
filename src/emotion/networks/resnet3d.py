"""A 3D ResNet over face crops (r3d_18 of torchvision)."""

import torch
from torch import Tensor, nn
from torchvision.models.video import R3D_18_Weights, VideoResNet, r3d_18

from emotion.networks.attention import (
    Head,
    MeanPooling,
    compact_rank,
    inverse_permutation,
    take_steps,
)
from emotion.networks.pretrained import load_published
from emotion.recipe import Part
from emotion.records import Stream

KINETICS_MEAN = (0.43216, 0.394666, 0.37645)  # RGB, of pixels in [0, 1]
KINETICS_STD = (0.22803, 0.22145, 0.216989)
FRAMES_PER_STEP = 2


def build_video_network() -> VideoResNet:
    """The r3d_18 of torchvision (Tran et al. 2018, arXiv 1711.11248) without its classifier.

    The last two stages keep the time axis: strides hold no weights, so published ones still fit,
    and 16 frames give 8 steps instead of 2, which leaves something to align and to pool.
    """
    network = r3d_18(weights=None)
    network.fc = nn.Identity()
    for stage in (network.layer3, network.layer4):
        stage[0].conv1[0].stride = (1, 2, 2)
        stage[0].downsample[0].stride = (1, 2, 2)
    return network


class VideoEncoder(nn.Module):
    """Crops (B, F, 3, S, S) in [0, 255] to (B, F / 2, 512): r3d_18 averaged over each image.

    Frames without a face are left out: the others move up in order, and the place that is left at
    the end repeats the last of them (a blank would be a cut that no face ever made). Every clip
    brings the same number F of frames, so that evaluation runs what training has run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = build_video_network()
        self.width = 512
        mean = 255.0 * torch.tensor(KINETICS_MEAN)
        scale = 1.0 / (255.0 * torch.tensor(KINETICS_STD))
        self.register_buffer("mean", mean.view(3, 1, 1, 1), persistent=False)
        self.register_buffer("scale", scale.view(3, 1, 1, 1), persistent=False)

    def forward(self, stream: Stream) -> Stream:
        """Steps of two found frames; their time is the mean of the frames' times."""
        mask = stream.mask
        count = mask.sum(dim=1)
        order = inverse_permutation(compact_rank(mask))
        place = torch.arange(mask.shape[1], device=mask.device)
        place = place.minimum((count - 1).clamp(min=0).unsqueeze(1))
        source = order.gather(1, place)
        rows = torch.arange(mask.shape[0], device=mask.device).unsqueeze(1)
        values = self._steps(self._normalise(stream.values[rows, source]))
        starts = torch.arange(0, mask.shape[1], FRAMES_PER_STEP, device=mask.device)
        # the repeated last frame stands for an absent second one, so a plain mean will do
        time = _step_time(take_steps(stream.time, source))
        return Stream(values, starts < count.unsqueeze(1), time)

    def _normalise(self, crops: Tensor) -> Tensor:
        """(B, F, 3, S, S) of 0..255 -> (B, 3, F, S, S) by the statistics of Kinetics-400."""
        return (crops.transpose(1, 2).float() - self.mean) * self.scale

    def _steps(self, video: Tensor) -> Tensor:
        """(B, 3, F, S, S) -> (B, F / 2, 512)."""
        network = self.network
        for stage in (network.stem, network.layer1, network.layer2, network.layer3, network.layer4):
            video = stage(video)
        return video.mean(dim=(3, 4)).transpose(1, 2)


def _step_time(time: Tensor) -> Tensor:
    """Mean of each pair of (B, F) seconds, the last alone where F is odd: (B, ceil(F / 2))."""
    if time.shape[1] % FRAMES_PER_STEP:
        time = torch.cat([time, time[:, -1:]], dim=1)
    return time.unflatten(1, (-1, FRAMES_PER_STEP)).mean(dim=2)


def build(part: Part) -> VideoEncoder:
    """The encoder."""
    return VideoEncoder()


def build_head(part: Part, width: int, n_classes: int) -> Head:
    """The global average of the paper."""
    return Head(MeanPooling(), width, n_classes)


def load_pretrained(encoder: VideoEncoder, part: Part, pretrained: str) -> bool:
    """Load torchvision's Kinetics-400 weights of r3d_18 into ``encoder``; True when they are in.

    Args:
        encoder: whose weights are replaced; the published classifier is dropped.
        part: of the recipe.
        pretrained: "true", "auto" (False and a line on stderr where they cannot be had) or "false".

    Raises:
        UserError: ``pretrained`` is "true" and the weights cannot be had.
    """

    def install(tensors: dict[str, Tensor]) -> None:
        kept = {name: value for name, value in tensors.items() if not name.startswith("fc.")}
        encoder.network.load_state_dict(kept)

    url = R3D_18_Weights.KINETICS400_V1.url
    return load_published(url, "Kinetics-400 r3d_18", pretrained, install)
