"""Which clips are this process's: all of them, or one share of N.

The shares are equal in number, need no coordination, and never write the same file: clips that
share a FileID, and with it one text file, are in one share.
"""

import os
import re
from typing import NamedTuple

from emotion.errors import UserError
from emotion.records import Corpus

MERGE = "merge"  # in place of a share


class Shard(NamedTuple):
    """One of ``count`` shares; they count from 1."""

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """What this share's journal is called by; empty where there is only one share."""
        return f"{self.number}-of-{self.count}" if self.count > 1 else ""

    def of(self, corpus: Corpus) -> Corpus:
        """This share of the clips. Neighbours, which are often alike, are dealt out in turn."""
        keys = dict.fromkeys((clip.split, clip.id) for clip in corpus.clips)
        mine = set(list(keys)[self.number - 1 :: self.count])
        clips = [clip for clip in corpus.clips if (clip.split, clip.id) in mine]
        return Corpus(corpus.name, corpus.class_names, clips)


def choose_shard(text: str) -> Shard:
    """The shard that ``--shard K/N`` names, else the one of torchrun's rank, else everything.

    Raises:
        UserError: ``text`` is not of that form, or torchrun divides the clips already.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if not text:
        return Shard(int(os.environ["RANK"]) + 1, ranks) if ranks > 1 else Shard()
    if ranks > 1:
        raise UserError(f"--shard {text}: torchrun divides the clips by rank; leave --shard out")
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard {text}: give K/N, from 1/N to N/N, as in --shard 1/16")
    return Shard(int(match[1]), int(match[2]))
