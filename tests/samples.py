"""The generated sample corpus, with few clips."""

import pytest

from emotion.sample import corpus
from emotion.sample.plan import SPLITS, plan_clips


def generate_few(folder, per_split=2):
    """The first clips of each split of the smallest sample corpus."""
    clips = plan_clips(1, seed=0)
    few = [clip for s in SPLITS for clip in [c for c in clips if c.split == s][:per_split]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "plan_clips", lambda *_: tuple(few))
        corpus.generate(folder, clips_per_emotion=1, seed=0)
    return folder
