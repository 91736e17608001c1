"""Hidden states of a pretrained speech encoder of the Hugging Face hub, which is used as it is:
Whisper's encoder, wav2vec 2.0, HuBERT, WavLM, data2vec (``requirements-text.txt``).

A waveform is run at its own length, by itself and in float32: 0.2 s of padding changes the states
by 4 to 12 %, bfloat16 by 5 %.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from emotion.clock import SAMPLE_RATE
from emotion.errors import UserError, first_line
from emotion.frozen.hugging_face import fingerprint, folder_of, library
from emotion.frozen.source import SPEECH_ENCODER

FILES = "config.json, model.safetensors and preprocessor_config.json"
MOST_SECONDS = 30.0  # at once; what is longer is run in parts of equal length
LEAST_SECONDS = 0.1  # what is shorter is filled up with silence: a convolution has to fit in


class States(NamedTuple):
    """What an encoder makes of a waveform."""

    values: np.ndarray  # float32 (N, L, D)
    time: np.ndarray  # float64 (N,) seconds from the waveform's start, the middle of each step


class SpeechStates:
    """Waveforms in, hidden states of some layers out."""

    def __init__(self, source: str, layers: list[int], device: str = "cpu") -> None:
        """Load the encoder.

        Args:
            source: a folder that holds it, or its name on the hub.
            layers: from 1, the first layer's output, to the number of layers; none: a spread.
            device: where it runs.

        Raises:
            UserError: no transformers, no such encoder, no network to fetch it, or no such layer.
        """
        transformers = library(SPEECH_ENCODER, source)
        folder = folder_of(SPEECH_ENCODER, source, FILES)
        try:  # a folder may name code of its own: it is never run
            extractor = transformers.AutoFeatureExtractor.from_pretrained(
                folder, trust_remote_code=False
            )
            model = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            )
            model = model.get_encoder() if model.config.is_encoder_decoder else model
            network = (Whisper if hasattr(model, "embed_positions") else Waveforms)(
                model, extractor
            )
        except Exception as error:  # the library raises what its file formats raise
            raise UserError(
                f"{SPEECH_ENCODER} {source}: not a speech encoder ({first_line(error)}); requires "
                f"{FILES}"
            ) from error
        there = model.config.num_hidden_layers
        self.layers = layers or spread_layers(there)
        if max(self.layers) > there:
            raise UserError(
                f"{SPEECH_ENCODER} {source}:{max(self.layers)}: it has only {there} layers"
            )
        self.fingerprint = fingerprint(model)
        self.network = network.eval().requires_grad_(False).to(device)
        self.device = device

    @torch.inference_mode()
    def __call__(self, waveform: np.ndarray) -> States:
        """The states of a waveform, float32 (samples,), 16 kHz mono."""
        least = int(LEAST_SECONDS * SAMPLE_RATE)
        waveform = np.pad(waveform, (0, max(0, least - len(waveform))))
        values, times = [], []
        for first, part in parts_of(waveform):
            inputs = self.network.prepare(part).to(self.device)
            states = self.network(inputs)
            values.append(torch.stack([states[layer][0] for layer in self.layers], 1).cpu())
            steps = np.arange(len(values[-1]))
            times.append(first / SAMPLE_RATE + self.network.offset + steps * self.network.step)
        return States(torch.cat(values).numpy(), np.concatenate(times))


class Whisper(nn.Module):
    """Whisper's encoder (Radford et al. 2022, arXiv 2212.04356) at any length: the library refuses
    all but 30 seconds, so the convolutions, as many positions as there are steps, and the layers
    are run here.
    """

    step = 0.02  # seconds
    offset = 0.01  # the middle of the first one

    def __init__(self, encoder: Any, extractor: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.extractor = extractor

    def prepare(self, waveform: np.ndarray) -> Tensor:
        """Log-mel spectrogram (1, bands, T)."""
        return self.extractor(
            waveform,
            sampling_rate=SAMPLE_RATE,
            padding=False,
            truncation=False,
            return_tensors="pt",
        ).input_features

    def forward(self, spectrogram: Tensor) -> list[Tensor]:
        """The states (1, N, D) before the first layer and after each, the last one normalised."""
        encoder, gelu = self.encoder, nn.functional.gelu
        values = gelu(encoder.conv2(gelu(encoder.conv1(spectrogram)))).transpose(1, 2)
        values = values + encoder.embed_positions.weight[: values.shape[1]]
        states = [values]
        for layer in encoder.layers:
            answer = layer(states[-1], None)
            states.append(answer[0] if isinstance(answer, tuple) else answer)
        states[-1] = encoder.layer_norm(states[-1])
        return states


class Waveforms(nn.Module):
    """Encoders that read samples, as wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477) does."""

    def __init__(self, encoder: Any, extractor: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.extractor = extractor
        field, stride = 1, 1  # of a step, in samples
        for kernel, hop in zip(encoder.config.conv_kernel, encoder.config.conv_stride, strict=True):
            field += (kernel - 1) * stride
            stride *= hop
        self.step = stride / SAMPLE_RATE
        self.offset = field / 2 / SAMPLE_RATE

    def prepare(self, waveform: np.ndarray) -> Tensor:
        """Samples (1, T), scaled as the encoder was trained."""
        return self.extractor(
            waveform, sampling_rate=SAMPLE_RATE, padding=False, return_tensors="pt"
        ).input_values

    def forward(self, samples: Tensor) -> list[Tensor]:
        """The states (1, N, D) before the first layer and after each."""
        return list(self.encoder(samples, output_hidden_states=True).hidden_states)


def spread_layers(count: int) -> list[int]:
    """The default: four layers, evenly over the lower two thirds. The upper ones are bent to the
    words (Whisper-base on RAVDESS, see ``benchmarks/RESULTS.md``).
    """
    return sorted({max(1, round(count * k / 6)) for k in range(1, 5)})


def parts_of(waveform: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """First sample and samples of parts of equal length, each of ``MOST_SECONDS`` at most."""
    count = max(1, -(-len(waveform) // int(MOST_SECONDS * SAMPLE_RATE)))
    edges = np.linspace(0, len(waveform), count + 1).astype(int)
    for first, end in pairwise(edges):
        yield int(first), waveform[first:end]
