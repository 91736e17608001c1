"""Where a model looks: attention over time, on one clock for everything that it reads."""

from typing import NamedTuple

import numpy as np
import torch

from emotion.data.dataset import collate
from emotion.data.samples import Sample
from emotion.models.evaluate import to_device
from emotion.prediction.members import Member


class Attention(NamedTuple):
    """Weights over the steps of one modality; they sum to 1, or to 0 where it is absent."""

    weights: np.ndarray  # (N,)
    time: np.ndarray | None  # (N,) seconds from the start of what is read; None where unknown


@torch.inference_mode()
def attention_over_time(
    member: Member, sample: Sample, device: torch.device
) -> dict[str, Attention]:
    """What the answer to one clip rests on: modality -> weights of its steps.

    In aligned fusion, what each step of the clip reads counts as much as the step.
    """
    batch = to_device(collate([sample]).inputs, device)
    found = {}
    for name, attention in member.model.attention(batch).items():
        time = attention.time[0].float().cpu().numpy()
        weights = attention.weights[0].float().cpu().numpy()
        found[name] = Attention(weights, None if np.isnan(time).all() else time)
    return found
