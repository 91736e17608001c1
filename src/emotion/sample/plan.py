"""What the generated sample corpus says about emotions, and which clips it is made of."""

from collections import Counter
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from emotion.corpora.qia2020 import EMOTIONS

SPLITS = ("train", "val", "test")
HELD_OUT_SHARE = 0.5  # of the train count, in val and in test each
FEWEST_HELD_OUT = 2  # clips per emotion

# How each modality shows an emotion. Emotions that share an entry look, sound or read alike in it;
# no pair shares an entry twice, so any two modalities together tell all seven apart.
#
#   emotion   face      voice        words
CUES = {
    "hap": ("smile", "bright", "joy"),
    "ang": ("scowl", "harsh", "threat"),
    "dis": ("scowl", "creaky", "loss"),
    "fea": ("alarm", "trembling", "threat"),
    "sad": ("grief", "level", "loss"),
    "neu": ("calm", "level", "plain"),
    "sur": ("alarm", "bright", "news"),
}
# Share of the clips whose face (whose speech) label is another one than the integrated label, any
# of the six alike; the face is rendered after the face label, the voice after the speech label.
FACE_DISAGREES = 0.15
SPEECH_DISAGREES = 0.15
# Share of the clips with filler words only; the other clips' words follow the integrated label.
WORDS_SAY_NOTHING = 0.15
# Best possible accuracy on the integrated label, as best_possible_accuracy computes it (chance
# 14.3 %): face 61.4 %, voice 61.4 %, words 62.9 %; face and voice 82.9 %, words with either 90.0 %;
# all three 95.4 %.


class SampleClip(NamedTuple):
    """One clip to make; the labels are written as in EMOTIONS."""

    id: int
    split: str
    integrated: str
    face: str
    speech: str
    topic: str | None  # what its words are about; None where they tell nothing

    @property
    def file_id(self) -> str:
        """FileID as the corpus writes it."""
        return f"{self.id:05d}"

    @property
    def stem(self) -> str:
        """Name of the mp4: with the labels, except in the test split."""
        labels = "" if self.split == "test" else f"-{self.integrated}-{self.face}-{self.speech}"
        return self.file_id + labels


def clips_in_split(split: str, clips_per_emotion: int) -> int:
    """Clips of one emotion in ``split`` when train has ``clips_per_emotion``."""
    if split == "train":
        return clips_per_emotion
    return max(FEWEST_HELD_OUT, round(HELD_OUT_SHARE * clips_per_emotion))


def _disagreeing(
    labels: Sequence[str], share: float, generator: np.random.Generator
) -> tuple[str, ...]:
    """``labels`` with exactly ``share`` of them (rounded) replaced by one of the other six."""
    changed = list(labels)
    for place in generator.permutation(len(labels))[: round(share * len(labels))]:
        others = [emotion for emotion in EMOTIONS if emotion != labels[place]]
        changed[place] = others[generator.integers(len(others))]
    return tuple(changed)


def plan_clips(clips_per_emotion: int, seed: int) -> tuple[SampleClip, ...]:
    """All clips of a corpus, in the order of their FileIDs.

    Args:
        clips_per_emotion: clips of each integrated emotion in train; see ``clips_in_split``.
        seed: the same gives the same plan.
    """
    clips: list[SampleClip] = []
    for number, split in enumerate(SPLITS):
        generator = np.random.default_rng([seed, number])
        labels = generator.permutation(EMOTIONS * clips_in_split(split, clips_per_emotion))
        labels = [str(label) for label in labels]
        faces = _disagreeing(labels, FACE_DISAGREES, generator)
        voices = _disagreeing(labels, SPEECH_DISAGREES, generator)
        silent = generator.permutation(len(labels)) < round(WORDS_SAY_NOTHING * len(labels))
        for label, face, speech, says_nothing in zip(labels, faces, voices, silent, strict=True):
            topic = None if says_nothing else CUES[label][2]
            clips.append(SampleClip(len(clips) + 1, split, label, face, speech, topic))
    return tuple(clips)


def _cue_probability(modality: int, emotion: str) -> Counter[str | None]:
    """Probability of each cue of a modality (0 face, 1 voice, 2 words) given the emotion."""
    probability: Counter[str | None] = Counter()
    if modality == 2:
        probability[None] = WORDS_SAY_NOTHING
        probability[CUES[emotion][2]] += 1 - WORDS_SAY_NOTHING
        return probability
    disagrees = (FACE_DISAGREES, SPEECH_DISAGREES)[modality]
    for shown in EMOTIONS:
        share = 1 - disagrees if shown == emotion else disagrees / (len(EMOTIONS) - 1)
        probability[CUES[shown][modality]] += share
    return probability


def best_possible_accuracy(modalities: Sequence[int]) -> float:
    """Accuracy on the integrated label of one who reads every cue without mistake (Bayes).

    Args:
        modalities: any of 0 face, 1 voice, 2 words; the emotions are equally frequent.
    """
    given = {e: [_cue_probability(m, e) for m in modalities] for e in EMOTIONS}
    # Every modality's cues under any emotion: with disagreeing labels each can meet each.
    columns = zip(*given.values(), strict=True)
    cues = [dict.fromkeys(cue for counter in column for cue in counter) for column in columns]
    hits = (
        max(prod(p[cue] for p, cue in zip(given[e], seen, strict=True)) for e in EMOTIONS)
        for seen in product(*cues)
    )
    return sum(hits) / len(EMOTIONS)
