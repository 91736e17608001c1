"""Evaluation without padding: rows of a batch are run at their own length."""

from collections.abc import Callable

import torch
from torch import Tensor


def exporting() -> bool:
    """True while a graph is being recorded: control flow that reads data has to be left out.

    An exported model therefore runs clips at the length of the batch; feed it one at a time.
    """
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def run_by_length(
    function: Callable[[Tensor], Tensor], inputs: Tensor, lengths: Tensor, dim: int
) -> Tensor:
    """Apply ``function`` to the rows of one length at a time, cropped to it.

    Convolutions with squeeze-and-excite leak padding into valid steps (3e-2 in EfficientNet), so
    only a crop makes the answer of a clip independent of its neighbours.

    Args:
        function: (b, ..., length, ...) -> (b, n, D), n growing with the length.
        inputs: (B, ..., T, ...).
        lengths: (B,) int64 in 1..T.
        dim: the axis of T.

    Returns:
        (B, n of the longest, D), zeros after the end of a shorter row.
    """
    sizes = lengths.unique().tolist()
    if len(sizes) == 1:
        return function(inputs.narrow(dim, 0, sizes[0]))
    parts = {size: (lengths == size).nonzero().squeeze(1) for size in sizes}
    outputs = {size: function(inputs[rows].narrow(dim, 0, size)) for size, rows in parts.items()}
    longest = outputs[sizes[-1]]
    result = longest.new_zeros(inputs.shape[0], longest.shape[1], longest.shape[2])
    for size, rows in parts.items():
        result[rows, : outputs[size].shape[1]] = outputs[size]
    return result
