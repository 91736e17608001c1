"""Frozen encoders with drawn weights, small enough to make in a test."""

import pytest
import torch


def make_whisper(folder, seed=0):
    """Whisper with an encoder of two layers of 16; its folder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    sides = {f"{side}_layers": 2 for side in ("encoder", "decoder")}
    sides |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    sides |= {f"{side}_ffn_dim": 16 for side in ("encoder", "decoder")}
    tokens = dict.fromkeys(("bos_token_id", "eos_token_id", "decoder_start_token_id"), 0)
    config = transformers.WhisperConfig(
        d_model=16, num_mel_bins=80, vocab_size=8, pad_token_id=0, **sides, **tokens
    )
    transformers.WhisperModel(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return str(folder)
