"""MLSTM-FCN (Karim et al. 2019, arXiv 1801.04503): an LSTM beside a convolutional network."""

import torch
from torch import Tensor, nn

from emotion.networks.attention import (
    Head,
    MeanPooling,
    compact_rank,
    inverse_permutation,
    masked_mean,
    take_steps,
)
from emotion.recipe import Part
from emotion.records import Stream

FILTERS = (128, 256, 128)
KERNELS = (8, 5, 3)
REDUCTION = 16
CELLS = 64  # the paper searches 8 to 128 for each data set
LSTM_DROPOUT = 0.8
LENGTH = 64  # steps that a clip is brought to


def fixed_length(stream: Stream, length: int) -> Stream:
    """The valid steps of (B, N, D) as exactly ``length`` steps.

    Fewer valid steps are padded with zeros (masked), more are resampled by linear interpolation
    between neighbours; holes are closed first. Times, where there are any, go the same way.
    """
    order = inverse_permutation(compact_rank(stream.mask))
    count = stream.mask.sum(dim=1, keepdim=True)
    step = torch.arange(length, device=order.device).unsqueeze(0)
    stretched = step * (count - 1).clamp(min=0) / max(length - 1, 1)
    position = torch.where(count > length, stretched, step.to(stretched.dtype))
    last = (count - 1).clamp(min=0)
    low = position.floor().long().minimum(last)
    high = (low + 1).minimum(last)
    mask = step < count
    share = (position - low).clamp(0.0, 1.0).unsqueeze(-1)

    def resample(values: Tensor) -> Tensor:
        first, second = (take_steps(values, order.gather(1, index)) for index in (low, high))
        mixed = torch.lerp(first, second, share.to(values.dtype))
        return mixed.masked_fill(~mask.unsqueeze(-1), 0.0)

    time = resample(stream.time.unsqueeze(-1)).squeeze(-1)
    return Stream(resample(stream.values), mask, time)


class SqueezeExcite(nn.Module):
    """Channel gates from the mean over valid steps (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // REDUCTION, bias=False)
        self.excite = nn.Linear(channels // REDUCTION, channels, bias=False)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, C, N), (B, N) -> (B, C, N)."""
        mean = masked_mean(values.transpose(1, 2), mask)
        gates = self.excite(self.squeeze(mean).relu()).sigmoid()
        return values * gates.unsqueeze(-1)


class ConvolutionBlock(nn.Module):
    """Convolution, batch norm, ReLU and, where asked, squeeze-and-excite; same length."""

    def __init__(self, inputs: int, outputs: int, kernel: int, excite: bool) -> None:
        super().__init__()
        self.padding = ((kernel - 1) // 2, kernel // 2)  # as Keras pads an even kernel
        self.convolution = nn.Conv1d(inputs, outputs, kernel)
        self.norm = nn.BatchNorm1d(outputs)
        self.excite = SqueezeExcite(outputs) if excite else None
        nn.init.kaiming_uniform_(self.convolution.weight, nonlinearity="relu")
        nn.init.zeros_(self.convolution.bias)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, C, N) -> (B, outputs, N), zeros in masked steps."""
        values = self.convolution(nn.functional.pad(values, self.padding))
        values = self.norm(values).relu()
        if self.excite is not None:
            values = self.excite(values, mask)
        return values.masked_fill(~mask.unsqueeze(1), 0.0)


class MLSTMFCN(nn.Module):
    """The paper's network up to its softmax: Stream (B, N, D) -> (B, length, 128 + cells).

    The dimension shuffle hands the LSTM the transposed series: D steps, each the whole course of
    one variable. So ``length`` is an input size and is fixed when the model is built. The mean over
    time of the result is the paper's concatenation (LSTM vector beside the pooled FCN), since the
    LSTM vector is the same at each step; ``MeanPooling`` and a linear layer complete it. The data
    sets of the paper are standardised; here each step is, which takes no parameters.

    Args:
        width: D.
        length: steps the series is brought to.
        cells: LSTM width.
        dropout: after the LSTM.
    """

    def __init__(
        self, width: int, length: int, cells: int = CELLS, dropout: float = LSTM_DROPOUT
    ) -> None:
        super().__init__()
        self.length = length
        self.width = FILTERS[-1] + cells
        self.norm = nn.LayerNorm(width, elementwise_affine=False) if width > 1 else nn.Identity()
        self.lstm = nn.LSTM(length, cells, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        inputs = (width, *FILTERS[:-1])
        excite = (True, True, False)
        sizes = zip(inputs, FILTERS, KERNELS, excite, strict=True)
        self.blocks = nn.ModuleList(ConvolutionBlock(*size) for size in sizes)

    def forward(self, stream: Stream) -> Stream:
        """``length`` steps; mask and times are those of the resampled series."""
        stream = fixed_length(stream, self.length)
        values = self.norm(stream.values).masked_fill(~stream.mask.unsqueeze(-1), 0.0)
        summary = self._read(values).unsqueeze(1).expand(-1, self.length, -1)
        values = values.transpose(1, 2)
        for block in self.blocks:
            values = block(values, stream.mask)
        joined = torch.cat([values.transpose(1, 2).to(summary.dtype), summary], dim=-1)
        return stream._replace(values=joined)

    def _read(self, values: Tensor) -> Tensor:
        """(B, length, D) -> (B, cells): the LSTM's last state over the D variables."""
        self.lstm.flatten_parameters()
        outputs, _ = self.lstm(values.transpose(1, 2))
        return self.dropout(outputs[:, -1])


def build(part: Part) -> MLSTMFCN:
    """The network up to its pooling."""
    return MLSTMFCN(part.width, LENGTH)


def build_head(part: Part, width: int, n_classes: int) -> Head:
    """The paper's global average; it has no dropout there."""
    return Head(MeanPooling(), width, n_classes, dropout=0.0)
