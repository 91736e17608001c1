"""Made-up batches for the tests of the models."""

import torch
from torch import nn

from emotion.records import Batch

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
    return Batch(
        speech=torch.rand(n_clips, 128, spectrogram, generator=generator),
        speech_frames=(shares * spectrogram).ceil().long(),
        speech_present=torch.ones(n_clips, dtype=torch.bool),
        face=face.masked_fill(~face_mask.unsqueeze(-1), 5.0),
        face_mask=face_mask,
        face_time=time.expand(n_clips, -1),
        text=text.masked_fill(~text_mask.unsqueeze(-1), -5.0),
        text_mask=text_mask,
    )


def crop_batch(n_clips=4, frames=8, size=32, holes=()):
    """Face crops for resnet3d."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.linspace(0.4, 1.0, n_clips).mul(frames).ceil().int().tolist()
    crops = torch.randint(256, (n_clips, frames, 3, size, size), generator=generator)
    return Batch(
        face=crops.to(torch.uint8),
        face_mask=some_mask(lengths, frames, holes),
        face_time=((torch.arange(frames) + 0.5) * 0.4).expand(n_clips, -1),
    )


def alone(batch, row):
    """One clip of a batch, cut to its own length in every modality but crops, a fixed number."""
    cuts = {}
    frames = int(batch.face_mask[row].nonzero().max()) + 1 if batch.face_mask[row].any() else 1
    if batch.face.dim() == 3:
        cuts |= {"face": frames, "face_mask": frames, "face_time": frames}
    if batch.text is not None:
        words = max(int(batch.text_mask[row].sum()), 1)
        cuts |= {"text": words, "text_mask": words}
    clip = Batch(*[None if field is None else field[row : row + 1] for field in batch])
    clip = clip._replace(**{name: getattr(clip, name)[:, :cut] for name, cut in cuts.items()})
    if batch.speech is None:
        return clip
    width = -(-int(batch.speech_frames[row]) // 32) * 32
    return clip._replace(speech=clip.speech[..., :width])
