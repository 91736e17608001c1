"""Where a model looks: attention over time, on one clock for sound, faces and words."""

from typing import NamedTuple

import numpy as np
import torch

from emotion.data.dataset import Sample, collate
from emotion.prediction.members import Member
from emotion.records import Batch
from emotion.training.loop import to_device


class Attention(NamedTuple):
    """Weights over the steps of one modality; they sum to 1, or to 0 where it is absent."""

    weights: np.ndarray  # (N,)
    time: np.ndarray | None  # (N,) seconds from the start of the features; words have none


@torch.inference_mode()
def attention_over_time(
    member: Member, sample: Sample, device: torch.device
) -> dict[str, Attention]:
    """What the answer to one clip rests on: modality -> weights of its steps.

    In aligned fusion, what each speech step reads of faces and words counts as much as the step.
    """
    batch = to_device(collate([sample]).inputs, device)
    weights = {
        name: value[0].float().cpu() for name, value in member.model.attention(batch).items()
    }
    if member.mode != "multimodal":
        return {member.mode: Attention(weights["pool"].numpy(), _time(member, member.mode, batch))}
    if "pool" in weights:  # aligned
        pool = weights.pop("pool")
        clock = member.model.encode(batch).time[0].cpu().numpy()
        read = {name: (pool @ value).numpy() for name, value in weights.items()}
        found = {name: Attention(value, _time(member, name, batch)) for name, value in read.items()}
        return {"speech": Attention(pool.numpy(), clock), **found}
    return {
        name: Attention(value.numpy(), _time(member, name, batch))
        for name, value in weights.items()
    }


def _time(member: Member, modality: str, batch: Batch) -> np.ndarray | None:
    model = member.model
    encoder = model.encoders[modality] if member.mode == "multimodal" else model.encoder
    time = encoder(batch).time
    return None if time is None else time[0].float().cpu().numpy()
