"""Text: a sequence of word embeddings of any width."""

import torch
from torch import nn

from emotion.networks.attention import AttentionPooling, Head, LSTMEncoder, MeanPooling
from emotion.networks.mlstm_fcn import MLSTMFCN
from emotion.networks.options import ModelOptions
from emotion.networks.single import SingleModel
from emotion.records import Batch, Sequence


class TextEncoder(nn.Module):
    """Words (B, W, D) of a batch through ``body``: LSTMEncoder or MLSTMFCN."""

    def __init__(self, body: LSTMEncoder | MLSTMFCN) -> None:
        super().__init__()
        self.body = body
        self.width = body.width

    def forward(self, batch: Batch) -> Sequence:
        """Sequence without times: words carry none."""
        mask = batch.text_mask
        if mask is None:
            mask = torch.ones(batch.text.shape[:2], dtype=torch.bool, device=batch.text.device)
        return self.body(Sequence(batch.text.float(), mask, None))


def build_text_encoder(options: ModelOptions) -> TextEncoder:
    """BiLSTM or MLSTM-FCN, as ``options.text_model`` says."""
    if options.text_model == "mlstm_fcn":
        return TextEncoder(MLSTMFCN(options.text_dim, options.sequence_length))
    return TextEncoder(LSTMEncoder(options.text_dim, options.hidden, options.dropout))


def build_text_head(options: ModelOptions, width: int) -> Head:
    """Attention pooling, or the paper's global average for ``mlstm_fcn`` (which has no dropout)."""
    if options.text_model == "mlstm_fcn":
        return Head(MeanPooling(), width, options.n_classes, dropout=0.0)
    return Head(AttentionPooling(width), width, options.n_classes, options.dropout)


def build_text(options: ModelOptions) -> SingleModel:
    """The text model: {"text": (B, n_classes)}."""
    encoder = build_text_encoder(options)
    return SingleModel("text", encoder, build_text_head(options, encoder.width))
