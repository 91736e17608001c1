"""Frozen encoders with drawn weights, small enough to make in a test."""

import pytest
import torch

WORDS = ["i", "am", "so", "happy", "##ness", "sad", "un", "##happy", "!", ","]
PLACES = 16  # tokens that the BERT reads at most


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


def make_bert(folder):
    """A BERT of 32 numbers a token that knows ``WORDS``; its folder."""
    transformers = pytest.importorskip("transformers")
    folder.mkdir(exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=PLACES,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder
