"""Made-up batches for the tests of the models."""

import pytest
import torch
from torch import nn

from emotion.clock import FRAME_SECONDS, STEP_FRAMES, STEP_SECONDS
from emotion.models.devices import computes_in_bfloat16
from emotion.records import Batch, Clock, Stream

needs_bfloat16 = pytest.mark.skipif(
    not computes_in_bfloat16(), reason="this CPU does not compute in bfloat16"
)
N_CLASSES = 7
TEXT_DIM = 20


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def settle(model, batch):
    """Estimate the batch statistics, or a random deep network answers 1e-9 whatever it is fed."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # a plain average
    with torch.no_grad():
        model.train()(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


def some_mask(lengths, longest, holes=()):
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    for row, step in holes:
        mask[row, step] = False
    return mask


def feature_batch(n_clips=4, frames=24, words=9, spectrogram=96, seed=0, holes=()):
    """Clips of unequal length, the last the longest; rubbish in every masked place."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.linspace(0.4, 1.0, n_clips)
    face_mask = some_mask((shares * frames).ceil().int().tolist(), frames, holes)
    text_mask = some_mask((shares * words).ceil().int().tolist(), words)
    face = torch.nn.functional.normalize(
        torch.randn(n_clips, frames, 512, generator=generator), dim=-1
    )
    text = torch.randn(n_clips, words, TEXT_DIM, generator=generator)
    time = (torch.arange(frames) + 0.5) * 0.128
    frame_mask = some_mask((shares * spectrogram).ceil().int().tolist(), spectrogram)
    speech = torch.rand(n_clips, 128, spectrogram, generator=generator).transpose(1, 2)
    frame_time = (torch.arange(spectrogram) * FRAME_SECONDS).expand(n_clips, -1)
    streams = {
        "speech": Stream(speech, frame_mask, frame_time),
        "face": Stream(
            face.masked_fill(~face_mask.unsqueeze(-1), 5.0), face_mask, time.expand(n_clips, -1)
        ),
        "text": Stream(
            text.masked_fill(~text_mask.unsqueeze(-1), -5.0),
            text_mask,
            torch.full((n_clips, words), torch.nan),
        ),
    }
    return Batch(streams, clock_of_frames(frame_mask))


def clock_of_frames(mask):
    """Steps of 32 frames from the start of each clip, (B, T / 32)."""
    steps = mask[:, ::STEP_FRAMES]
    time = (torch.arange(steps.shape[1]) + 0.5) * STEP_SECONDS
    return Clock(steps, time.expand(steps.shape))


def crop_batch(n_clips=4, frames=8, size=32, holes=()):
    """Face crops for resnet3d."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.linspace(0.4, 1.0, n_clips).mul(frames).ceil().int().tolist()
    crops = torch.randint(256, (n_clips, frames, 3, size, size), generator=generator)
    time = ((torch.arange(frames) + 0.5) * 0.4).expand(n_clips, -1)
    return Batch({"face": Stream(crops.to(torch.uint8), some_mask(lengths, frames, holes), time)})


def only(batch, *names):
    """The batch with some of its modalities, on the same clock."""
    return batch._replace(streams={name: batch.streams[name] for name in names})


def with_stream(batch, name, **fields):
    """The batch with fields of one stream replaced."""
    streams = batch.streams | {name: batch.streams[name]._replace(**fields)}
    return batch._replace(streams=streams)


def without(batch, name, rows=None):
    """The batch with a modality masked in some of its clips, or in all."""
    mask = batch.streams[name].mask.clone()
    mask[slice(None) if rows is None else rows] = False
    return with_stream(batch, name, mask=mask)


def alone(batch, row):
    """One clip of a batch, cut to its own length in every modality but crops, a fixed number."""
    streams = {}
    for name, stream in batch.streams.items():
        mask = stream.mask[row]
        length = int(mask.nonzero().max()) + 1 if mask.any() else 1
        kept = len(mask) if stream.values.dim() > 3 else length
        streams[name] = Stream(*(part[row : row + 1, :kept] for part in stream))
    clock = batch.clock
    if clock is not None:
        steps = int(clock.mask[row].sum())
        clock = Clock(*(part[row : row + 1, :steps] for part in clock))
    return Batch(streams, clock)
