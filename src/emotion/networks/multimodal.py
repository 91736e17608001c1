"""The fused model: three encoders, one fusion, and the single heads where they are trained too."""

import torch
from torch import Tensor, nn

from emotion.errors import UserError
from emotion.networks.attention import Head
from emotion.networks.face import build_face_encoder, build_face_head
from emotion.networks.fusion import Clock, Sequences, build_fusion, drop_modalities
from emotion.networks.options import ModelOptions
from emotion.networks.presence import encode_present, presence
from emotion.networks.speech import (
    FRAMES_PER_STEP,
    SECONDS_PER_STEP,
    build_speech_encoder,
    build_speech_head,
    step_mask,
    step_time,
)
from emotion.networks.text import build_text_encoder
from emotion.records import Batch, Sequence

AUXILIARY = ("speech", "face")


class MultimodalModel(nn.Module):
    """``encoders.speech``, ``.face``, ``.text``; ``fusion``; ``heads.speech``, ``.face``.

    The encoders and heads are those of the single models, so their checkpoints load. ``heads`` is
    empty without ``multitask``: no parameter is without a gradient, as distributed training asks.
    """

    def __init__(
        self,
        encoders: dict[str, nn.Module],
        fusion: nn.Module,
        heads: dict[str, Head],
        modality_dropout: float,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.heads = nn.ModuleDict(heads)
        self.modality_dropout = modality_dropout
        self.frozen = False

    def encode(self, batch: Batch) -> Sequence:
        """What the last pooling reads: fused steps (aligned) or one step (concat)."""
        sequences = self._encode_each(batch)
        return self.fusion.encode(sequences, speech_clock(batch))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Logits (B, n_classes): "integrated", with ``multitask`` also "speech" and "face"."""
        sequences = self._encode_each(batch)
        clock = speech_clock(batch)
        # the single heads see every modality: dropout is the fusion's exercise
        logits = {
            name: _answer(head, sequences[name], clock, batch) for name, head in self.heads.items()
        }
        if self.training and self.modality_dropout > 0.0:
            sequences = drop_modalities(sequences, self.modality_dropout)
        return {"integrated": self.fusion(sequences, clock, batch)} | logits

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Weights for plots, each float32 and summing to 1 over its last axis.

        Aligned: "face" (B, N, F), "text" (B, N, W) at each speech step, "pool" (B, N). Concat: the
        pooling of "speech" (B, N), "face" (B, F), "text" (B, W). A modality not in the batch is
        left out; a clip without one has zeros.
        """
        return self.fusion.attention(self._encode_each(batch), speech_clock(batch))

    def train(self, mode: bool = True) -> "MultimodalModel":
        """Set the mode; frozen encoders stay in evaluation, batch statistics and dropout too."""
        super().train(mode)
        if self.frozen:
            self.encoders.eval()
        return self

    def _encode_each(self, batch: Batch) -> Sequences:
        return {
            name: None
            if getattr(batch, name) is None
            else encode_present(encoder, batch, presence(batch, name))
            for name, encoder in self.encoders.items()
        }


def _answer(head: Head, sequence: Sequence | None, clock: Clock, batch: Batch) -> Tensor:
    """Logits of a single head; its bias where the batch has nothing of the modality."""
    if sequence is None:
        return head.classifier.bias.expand(clock.mask.shape[0], -1)
    return head(sequence, batch)


def speech_clock(batch: Batch) -> Clock:
    """The steps of 0.512 s that a batch is fused on.

    From the spectrograms, or their lengths; without either from the last face frame of each clip,
    and with words alone one step.
    """
    if batch.speech is not None:
        mask = step_mask(batch.speech, batch.speech_frames)
    else:
        frames = _frames_without_speech(batch).clamp(min=1)
        starts = torch.arange(0, int(frames.max()), FRAMES_PER_STEP, device=frames.device)
        mask = starts < frames.unsqueeze(1)
    return Clock(mask, step_time(mask.shape[1], mask.device).expand(mask.shape))


def _frames_without_speech(batch: Batch) -> Tensor:
    """Length of each clip in spectrogram frames, (B,) int64."""
    if batch.speech_frames is not None:
        return batch.speech_frames
    if batch.face_time is None:
        given = batch.face if batch.face is not None else batch.text
        return torch.ones(given.shape[0], dtype=torch.long, device=given.device)
    time = batch.face_time
    if batch.face_mask is not None:
        time = time.masked_fill(~batch.face_mask, 0.0)
    steps = torch.floor(time.amax(dim=1) / SECONDS_PER_STEP) + 1  # the step the frame falls in
    return steps.long() * FRAMES_PER_STEP


def build_multimodal(options: ModelOptions) -> MultimodalModel:
    """The fused model of ``options``."""
    encoders = {
        "speech": build_speech_encoder(options),
        "face": build_face_encoder(options),
        "text": build_text_encoder(options),
    }
    widths = {name: encoder.width for name, encoder in encoders.items()}
    fusion = build_fusion(
        options.fusion, widths, options.n_classes, options.hidden, options.dropout
    )
    builders = {"speech": build_speech_head, "face": build_face_head}
    heads = {name: builders[name](options, widths[name]) for name in AUXILIARY if options.multitask}
    return MultimodalModel(encoders, fusion, heads, options.modality_dropout)


def load_encoder(model: MultimodalModel, modality: str, state: dict[str, Tensor]) -> None:
    """Load a single model's ``state_dict`` into the encoder of ``modality``, and its head if any.

    Raises:
        UserError: the weights are not those of this encoder.
    """
    parts = {"encoder.": model.encoders[modality]}
    if modality in model.heads:
        parts["head."] = model.heads[modality]
    for prefix, part in parts.items():
        own = {name[len(prefix) :]: v for name, v in state.items() if name.startswith(prefix)}
        try:
            part.load_state_dict(own)
        except RuntimeError as error:
            raise UserError(
                f"--{modality}_load_weights: these weights do not fit the {modality} "
                f"{prefix[:-1]} ({_first_reason(error)}); give a checkpoint of --mode {modality} "
                "with the same model flags"
            ) from error


def _first_reason(error: RuntimeError) -> str:
    """The first detail of load_state_dict's many-line message."""
    lines = [line.strip() for line in str(error).splitlines()]
    return (lines[1] if len(lines) > 1 else lines[0])[:120]


def freeze_backbone(model: nn.Module) -> None:
    """Hold the encoders of a multimodal model: no gradients, and evaluation mode from now on.

    Raises:
        UserError: the model has no backbone of its own to hold (a single mode).
    """
    if not isinstance(model, MultimodalModel):
        raise UserError(
            "--freeze_backbone True holds the encoders of --mode multimodal; leave it out"
        )
    model.frozen = True
    model.encoders.requires_grad_(False)
    model.encoders.eval()
