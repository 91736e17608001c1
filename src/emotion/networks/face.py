"""Face: a BiLSTM or MLSTM-FCN over VGG-Face embeddings, or a 3D ResNet over the crops."""

import torch
from torch import Tensor, nn
from torchvision.models.video import R3D_18_Weights, VideoResNet, r3d_18

from emotion.networks.attention import (
    AttentionPooling,
    Head,
    LSTMEncoder,
    MeanPooling,
    compact_rank,
    inverse_permutation,
    take_steps,
)
from emotion.networks.mlstm_fcn import MLSTMFCN
from emotion.networks.options import ModelOptions
from emotion.networks.pretrained import load_published
from emotion.networks.single import SingleModel
from emotion.records import Batch, Sequence

KINETICS_MEAN = (0.43216, 0.394666, 0.37645)  # RGB, of pixels in [0, 1]
KINETICS_STD = (0.22803, 0.22145, 0.216989)
FRAMES_PER_STEP = 2


def frame_mask(batch: Batch) -> Tensor:
    """Which frames show a face: (B, F) bool."""
    if batch.face_mask is not None:
        return batch.face_mask
    return torch.ones(batch.face.shape[:2], dtype=torch.bool, device=batch.face.device)


class FaceEncoder(nn.Module):
    """Embeddings (B, F, 512) of a batch through ``body``: LSTMEncoder or MLSTMFCN."""

    def __init__(self, body: LSTMEncoder | MLSTMFCN) -> None:
        super().__init__()
        self.body = body
        self.width = body.width

    def forward(self, batch: Batch) -> Sequence:
        """Frames without a face are masked."""
        return self.body(Sequence(batch.face.float(), frame_mask(batch), batch.face_time))


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


class FaceVideoEncoder(nn.Module):
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

    def forward(self, batch: Batch) -> Sequence:
        """Steps of two found frames; their time is the mean of the frames' times."""
        mask = frame_mask(batch)
        count = mask.sum(dim=1)
        order = inverse_permutation(compact_rank(mask))
        place = torch.arange(mask.shape[1], device=mask.device)
        place = place.minimum((count - 1).clamp(min=0).unsqueeze(1))
        source = order.gather(1, place)
        rows = torch.arange(mask.shape[0], device=mask.device).unsqueeze(1)
        values = self._steps(self._normalise(batch.face[rows, source]))
        starts = torch.arange(0, mask.shape[1], FRAMES_PER_STEP, device=mask.device)
        time = None
        if batch.face_time is not None:
            # the repeated last frame stands for an absent second one, so a plain mean will do
            time = _step_time(take_steps(batch.face_time, source))
        return Sequence(values, starts < count.unsqueeze(1), time)

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


def build_face_encoder(options: ModelOptions) -> FaceEncoder | FaceVideoEncoder:
    """BiLSTM, MLSTM-FCN or 3D ResNet, as ``options.face_model`` says."""
    if options.face_model == "resnet3d":
        return FaceVideoEncoder()
    if options.face_model == "mlstm_fcn":
        return FaceEncoder(MLSTMFCN(options.face_dim, options.sequence_length))
    return FaceEncoder(LSTMEncoder(options.face_dim, options.hidden, options.dropout))


def build_face_head(options: ModelOptions, width: int) -> Head:
    """Attention pooling; for the two convolutional models the global average of their papers."""
    if options.face_model == "attention_lstm":
        return Head(AttentionPooling(width), width, options.n_classes, options.dropout)
    dropout = options.dropout if options.face_model == "resnet3d" else 0.0
    return Head(MeanPooling(), width, options.n_classes, dropout)


def build_face(options: ModelOptions) -> SingleModel:
    """The face model: {"face": (B, n_classes)}."""
    encoder = build_face_encoder(options)
    return SingleModel("face", encoder, build_face_head(options, encoder.width))


def load_kinetics(encoder: FaceVideoEncoder, pretrained: str) -> bool:
    """Load torchvision's Kinetics-400 weights of r3d_18 into ``encoder``; True when they are in.

    Args:
        encoder: whose weights are replaced; the published classifier is dropped.
        pretrained: "true", "auto" (False and a line on stderr where they cannot be had) or "false".

    Raises:
        UserError: ``pretrained`` is "true" and the weights cannot be had.
    """

    def install(tensors: dict[str, Tensor]) -> None:
        kept = {name: value for name, value in tensors.items() if not name.startswith("fc.")}
        encoder.network.load_state_dict(kept)

    url = R3D_18_Weights.KINETICS400_V1.url
    return load_published(url, "Kinetics-400 r3d_18", pretrained, install)
