"""Word embeddings in context, from a Hugging Face encoder (``requirements-text.txt``)."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from emotion.errors import UserError, first_line
from emotion.frozen.hugging_face import fingerprint, folder_of, library
from emotion.frozen.source import TEXT_ENCODER

MAX_TOKENS = 512  # of a transcript; what follows is left out
FILES = "config.json, model.safetensors and tokenizer.json"


class TextEncoder:
    """Transcripts in; the encoder's last hidden states, sub-words averaged to words, out.

    Words are those of the encoder's own tokenizer, which splits off punctuation. More than one
    layer is the mean over the last ones: the very last layer of a sentence encoder is bent to its
    own task (MELD, MiniLM: see ``recipes/meld.md``, one run each).

    What was said before a transcript may stand in front of it, a separator between. Kept are the
    states of its own words, read alone and, behind them, having looked back (MELD: looking back
    alone is worse than not at all). Where there is no room for all of it, what is longest ago is
    left out.
    """

    def __init__(self, source: str, layers: int = 1, device: str = "") -> None:
        """Load the encoder.

        Args:
            source: a folder that holds it, or its name on the Hugging Face hub.
            layers: how many of the last ones to average.
            device: CUDA where there is one, else the CPU.

        Raises:
            UserError: no transformers, no such encoder, no network to fetch it, or too many layers.
        """
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer, self.model = _load(source)
        self.model.eval().requires_grad_(False).to(self.device)
        self.layers = layers
        there = getattr(self.model.config, "num_hidden_layers", layers)
        if layers > there:
            raise UserError(f"{TEXT_ENCODER} {source}:{layers}: it has only {there} layers")
        vocabulary = json.dumps(sorted(self.tokenizer.get_vocab().items())).encode()
        known_by = fingerprint(self.model, vocabulary)
        self.name = f"{Path(source).name}@{known_by} layers {layers}"
        places = getattr(self.model.config, "max_position_embeddings", None) or MAX_TOKENS
        self.max_tokens = min(self.tokenizer.model_max_length, places, MAX_TOKENS)

    def prepare(self, transcripts: Iterable[str]) -> None:
        """Nothing: the encoder knows every word."""

    def embed(
        self, transcripts: Sequence[str], past: Sequence[Sequence[str]] = ()
    ) -> list[np.ndarray]:
        """Hidden states (W, D) float32 of each transcript, with ``past`` (W, 2 * D); W is 0 where
        there are no words.

        Args:
            transcripts: of clips.
            past: what was said before each, the last one last.
        """
        alone = self._embed(transcripts, [()] * len(transcripts))
        if not past:
            return alone
        looked_back = self._embed(transcripts, past)
        return [np.concatenate(both, 1) for both in zip(alone, looked_back, strict=True)]

    @torch.inference_mode()
    def _embed(self, transcripts: Sequence[str], past: Sequence[Sequence[str]]) -> list[np.ndarray]:
        tokens = self._tokens(transcripts)
        words = [tokens.word_ids(row) for row in range(len(transcripts))]
        before = [self._before(said, len(own)) for said, own in zip(past, words, strict=True)]
        rows = zip(tokens["input_ids"], before, map(_start, words), strict=True)
        states = self._states([own[:at] + said + own[at:] for own, said, at in rows])
        found = []
        for row, said, own in zip(states, before, words, strict=True):
            kept = torch.cat([row[: _start(own)], row[_start(own) + len(said) :]])
            found.append(average_subwords(kept, own).numpy())
        return found

    def _before(self, past: Sequence[str], own: int) -> list[int]:
        """The tokens of ``past`` and a separator, as far as there is room beside ``own`` tokens."""
        room = self.max_tokens - own - 1
        kept: list[int] = []
        for said in reversed(past):
            tokens = self.tokenizer(said, add_special_tokens=False)["input_ids"]
            if len(kept) + len(tokens) > room:
                break
            kept = tokens + kept
        separator = [self.tokenizer.sep_token_id] if self.tokenizer.sep_token else []
        return kept + separator if kept else []

    def spans(self, transcripts: Sequence[str]) -> list[np.ndarray]:
        """Where the words of ``embed`` stand in each transcript, int (W, 2): the first character
        and one past the last.
        """
        if not transcripts:
            return []
        tokens = self._tokens(transcripts)
        found = []
        for row in range(len(transcripts)):
            words = sorted({word for word in tokens.word_ids(row) if word is not None})
            spans = [tuple(tokens.word_to_chars(row, word)) for word in words]
            found.append(np.array(spans, int).reshape(-1, 2))
        return found

    def _tokens(self, transcripts: Sequence[str]) -> Any:
        return self.tokenizer(
            list(transcripts),
            truncation=True,
            max_length=self.max_tokens,
        )

    def _states(self, rows: list[list[int]]) -> list[Tensor]:
        """float32 (N, D) of each row of N tokens; asked for all its layers only where more than the
        last one is wanted.
        """
        ids = pad_sequence([torch.tensor(row) for row in rows], True, self.tokenizer.pad_token_id)
        mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], True)
        inputs = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
        found = self.model(**inputs, output_hidden_states=self.layers > 1)
        if self.layers == 1:
            states = found.last_hidden_state
        else:
            states = torch.stack(found.hidden_states[-self.layers :]).mean(0)
        return [state[: len(row)] for state, row in zip(states.float().cpu(), rows, strict=True)]


def _start(words: Sequence[int | None]) -> int:
    """Where the first word stands, after the special tokens that begin a text."""
    return next((place for place, word in enumerate(words) if word is not None), 0)


def average_subwords(states: Tensor, words: Sequence[int | None]) -> Tensor:
    """Mean over the sub-words of each word: states (N, D) to (W, D).

    Args:
        states: of the sub-words.
        words: the word that each belongs to; None for special tokens and padding.
    """
    kept = [place for place, word in enumerate(words) if word is not None]
    index = torch.tensor([words[place] for place in kept], dtype=torch.long)
    count = torch.bincount(index)
    sums = torch.zeros(len(count), states.shape[1]).index_add_(0, index, states[kept])
    return (sums / count.clamp(min=1).unsqueeze(1))[count > 0]


def _load(source: str) -> tuple[Any, Any]:
    """Tokenizer and model."""
    transformers = library(TEXT_ENCODER, source)
    folder = folder_of(TEXT_ENCODER, source, FILES)
    try:
        # a folder may name code of its own: it is never run, and nobody is asked whether it may
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = transformers.AutoModel.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False
        )
    except Exception as error:  # the library raises what its file formats raise
        raise UserError(
            f"{TEXT_ENCODER} {source}: not an encoder ({first_line(error)}); wants {FILES}"
        ) from error
    if not tokenizer.is_fast:
        raise UserError(f"{TEXT_ENCODER} {source}: has no tokenizer.json; give another encoder")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer, model.get_encoder() if model.config.is_encoder_decoder else model
