"""SpecAugment and vocal tract length perturbation of a batch of spectrograms, on its device.

Random numbers are drawn on the CPU from a generator given by the caller, so that a batch is
augmented alike on every device.
"""

import torch
from torch import Tensor

from emotion.clock import N_MELS
from emotion.inputs.audio import F_MAX, F_MIN
from emotion.lazy import Lazy
from emotion.records import Stream

librosa = Lazy("librosa")  # for --vtlp alone
FREQUENCY_MASKS, FREQUENCY_WIDTH = 3, 27  # at most, bands
TIME_MASKS, TIME_WIDTH = 4, 50  # at most, frames
TIME_SHARE = 0.2  # of a clip's own length, hidden by all its time masks together
WARP_FRAMES, WARP_SHARE = 80, 0.25  # at most, frames and share of the clip's length


def spec_augment(stream: Stream, generator: torch.Generator, warp: bool = True) -> Stream:
    """SpecAugment (Park et al. 2019, arXiv 1904.08779): time warp, frequency and time masks.

    Masked cells get the mean of the clip's own frames. In multimodal runs warping is off, so that
    speech and faces keep one clock.
    """
    speech, frames = _bands_first(stream), stream.mask.sum(1)
    if warp:
        speech = time_warp(speech, frames, generator)
    inside = torch.arange(speech.shape[2], device=speech.device) < frames[:, None]  # (B, T)
    total = (speech * inside[:, None]).sum((1, 2))
    mean = total / (frames.clamp(min=1) * speech.shape[1])
    bands = _frequency_masks(len(speech), speech.shape[1], generator).to(speech.device)
    times = _time_masks(frames.cpu(), speech.shape[2], generator).to(speech.device)
    hidden = (bands[:, :, None] | times[:, None, :]) & inside[:, None]
    return _with(stream, torch.where(hidden, mean[:, None, None], speech))


def warp_vocal_tract(stream: Stream, limit: float, generator: torch.Generator) -> Stream:
    """Vocal tract length perturbation (Jaitly & Hinton 2013): the same words by another throat.

    Each clip's frequencies are multiplied by a factor from 1 - ``limit`` to 1 + ``limit``; what
    comes from beyond the first or last band repeats it.
    """
    centres = torch.from_numpy(
        librosa.mel_frequencies(N_MELS + 2, fmin=F_MIN, fmax=F_MAX)[1:-1]
    ).float()
    factor = 1 + limit * (2 * torch.rand(len(stream.mask), 1, generator=generator) - 1)
    wanted = (centres * factor).clamp(centres[0], centres[-1])  # (B, 128) Hz
    above = torch.searchsorted(centres, wanted).clamp(min=1)
    share = (wanted - centres[above - 1]) / (centres[above] - centres[above - 1])
    return _with(stream, _between(_bands_first(stream), above - 1, share, dim=1))


def time_warp(speech: Tensor, frames: Tensor, generator: torch.Generator) -> Tensor:
    """Move one moment of each clip and stretch what lies before and after it, linearly.

    Args:
        speech: (B, 128, T).
        frames: (B,) length of each clip; what lies after it stays.
        generator: on the CPU.
    """
    count, _, length = speech.shape
    frames = frames.cpu()[:, None]  # (B, 1)
    last = (frames - 1).clamp(min=1).float()  # the first frame and this one stay where they are
    reach = torch.clamp(last * WARP_SHARE, max=WARP_FRAMES)
    pivot = reach + torch.rand(count, 1, generator=generator) * (last - 2 * reach)
    moved = pivot + (2 * torch.rand(count, 1, generator=generator) - 1) * reach * 0.9
    target = torch.arange(length).float()[None]  # (1, T)
    before = target * pivot / moved
    after = last - (last - target) * (last - pivot) / (last - moved)
    source = torch.where(target < moved, before, after)
    source = torch.where(target < frames, source, target)
    low = source.floor().long().clamp(0, length - 2)
    return _between(speech, low, source - low, dim=2)


def _between(speech: Tensor, low: Tensor, share: Tensor, dim: int) -> Tensor:
    """Rows (1) or columns (2) of (B, 128, T), ``share`` of the way from ``low`` to the next one.

    Args:
        speech: (B, 128, T).
        low: int64 (B, n) on the CPU.
        share: (B, n) on the CPU, 0 to 1.
        dim: which axis is gathered.
    """
    low, share = (values.to(speech.device).unsqueeze(3 - dim) for values in (low, share))
    size = list(speech.shape)
    size[dim] = low.shape[dim]
    first, second = (speech.gather(dim, rows.expand(size)) for rows in (low, low + 1))
    return torch.lerp(first, second, share)


def _bands_first(stream: Stream) -> Tensor:
    """(B, T, 128) as (B, 128, T)."""
    return stream.values.transpose(1, 2).contiguous()


def _with(stream: Stream, speech: Tensor) -> Stream:
    """The stream with other values, (B, 128, T)."""
    return stream._replace(values=speech.transpose(1, 2))


def _frequency_masks(count: int, bands: int, generator: torch.Generator) -> Tensor:
    width = torch.randint(0, FREQUENCY_WIDTH + 1, (count, FREQUENCY_MASKS), generator=generator)
    kept = _some(count, FREQUENCY_MASKS, generator)
    return _intervals(width * kept, torch.full((count, 1), bands), bands, generator)


def _time_masks(frames: Tensor, length: int, generator: torch.Generator) -> Tensor:
    width = torch.randint(0, TIME_WIDTH + 1, (len(frames), TIME_MASKS), generator=generator)
    width = width * _some(len(frames), TIME_MASKS, generator)
    allowed = TIME_SHARE * frames[:, None]
    width = (width * (allowed / width.sum(1, keepdim=True).clamp(min=1)).clamp(max=1)).floor()
    return _intervals(width.long(), frames[:, None], length, generator)


def _some(count: int, masks: int, generator: torch.Generator) -> Tensor:
    """Which masks of each clip are used: the first 0 to ``masks``, (B, masks) bool."""
    used = torch.randint(0, masks + 1, (count, 1), generator=generator)
    return torch.arange(masks)[None] < used


def _intervals(width: Tensor, room: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Union of intervals of widths (B, M), placed anywhere in 0..room (B, 1): (B, length)."""
    first = (torch.rand(width.shape, generator=generator) * (room - width + 1)).floor()[..., None]
    place = torch.arange(length)[None, None]
    return ((place >= first) & (place < first + width[..., None])).any(1)
