"""What the clips of the sample corpus say, and how much of it each modality tells."""

from itertools import combinations, pairwise, product
from math import prod

import numpy as np
import pytest

from emotion.corpora.qia2020 import EMOTIONS
from emotion.sample import corpus as sample
from emotion.sample.face import LOOKS
from emotion.sample.plan import (
    CUES,
    FACE_DISAGREES,
    SPEECH_DISAGREES,
    WORDS_SAY_NOTHING,
    SampleClip,
    best_possible_accuracy,
    plan_clips,
)
from emotion.sample.voice import STYLES

FACE, VOICE, WORDS = range(3)


class TestPlan:
    def test_counts_and_file_ids(self):
        clips = plan_clips(6, seed=0)
        assert [sum(clip.split == split for clip in clips) for split in sample.SPLITS] == [
            42,
            21,
            21,
        ]
        for split, each in (("train", 6), ("val", 3), ("test", 3)):
            for emotion in EMOTIONS:
                assert sum(c.split == split and c.integrated == emotion for c in clips) == each
        assert len({clip.file_id for clip in clips}) == len(clips)
        assert all(len(clip.file_id) == 5 for clip in clips)

    def test_held_out_splits_are_never_empty(self):
        clips = plan_clips(1, seed=0)
        assert [sum(clip.split == split for clip in clips) for split in sample.SPLITS] == [
            7,
            14,
            14,
        ]

    def test_file_ids_do_not_tell_the_label(self):
        labels = [clip.integrated for clip in plan_clips(20, seed=0) if clip.split == "test"]
        assert labels != sorted(labels)
        assert sum(a == b for a, b in pairwise(labels)) < len(labels) / 3

    def test_stated_shares_disagree(self):
        clips = plan_clips(40, seed=3)
        for split in sample.SPLITS:
            part = [clip for clip in clips if clip.split == split]
            faces = sum(clip.face != clip.integrated for clip in part)
            voices = sum(clip.speech != clip.integrated for clip in part)
            silent = sum(clip.topic is None for clip in part)
            assert faces == round(FACE_DISAGREES * len(part))
            assert voices == round(SPEECH_DISAGREES * len(part))
            assert silent == round(WORDS_SAY_NOTHING * len(part))

    def test_seed_decides(self):
        assert plan_clips(4, seed=1) == plan_clips(4, seed=1)
        assert plan_clips(4, seed=1) != plan_clips(4, seed=2)


class TestInformation:
    def accuracy(self, modalities):
        """Bayes accuracy by listing every event of the plan: labels, then what they show."""
        score: dict[tuple, dict[str, float]] = {}
        for emotion, face, speech, silent in product(EMOTIONS, EMOTIONS, EMOTIONS, (True, False)):
            chance = prod(
                1 - share if shown == emotion else share / 6
                for shown, share in ((face, FACE_DISAGREES), (speech, SPEECH_DISAGREES))
            )
            chance *= WORDS_SAY_NOTHING if silent else 1 - WORDS_SAY_NOTHING
            shown = (CUES[face][0], CUES[speech][1], None if silent else CUES[emotion][2])
            seen = tuple(shown[modality] for modality in modalities)
            given = score.setdefault(seen, dict.fromkeys(EMOTIONS, 0.0))
            given[emotion] += chance / 7
        return sum(max(given.values()) for given in score.values())

    def test_best_possible_accuracies(self):
        for count in (1, 2, 3):
            for modalities in combinations(range(3), count):
                expected = self.accuracy(modalities)
                assert best_possible_accuracy(modalities) == pytest.approx(expected, abs=1e-12)
        assert best_possible_accuracy([FACE]) == pytest.approx(0.614, abs=5e-4)
        assert best_possible_accuracy([VOICE]) == pytest.approx(0.614, abs=5e-4)
        assert best_possible_accuracy([WORDS]) == pytest.approx(0.629, abs=5e-4)
        assert best_possible_accuracy([FACE, VOICE]) == pytest.approx(0.829, abs=5e-4)
        assert best_possible_accuracy([FACE, WORDS]) == pytest.approx(0.900, abs=5e-4)
        assert best_possible_accuracy([FACE, VOICE, WORDS]) == pytest.approx(0.954, abs=5e-4)

    def test_fusion_has_something_to_gain(self):
        best_single = max(best_possible_accuracy([modality]) for modality in range(3))
        best_pair = max(best_possible_accuracy(pair) for pair in combinations(range(3), 2))
        fused = best_possible_accuracy(range(3))
        assert fused - best_single >= 0.15
        assert fused - best_pair >= 0.05

    def test_any_two_modalities_tell_all_emotions_apart(self):
        for first, second in combinations(range(3), 2):
            assert len({(cues[first], cues[second]) for cues in CUES.values()}) == len(EMOTIONS)

    def test_every_cue_can_be_made(self):
        assert {cues[FACE] for cues in CUES.values()} == set(LOOKS)
        assert {cues[VOICE] for cues in CUES.values()} == set(STYLES)

    def test_cues_follow_their_own_label(self):
        """The face label moves the face and nothing else, the speech label the voice alone."""
        base = SampleClip(7, "train", "hap", "hap", "hap", "joy")
        frames, voice, words = sample.compose(base, seed=0)
        other_face = sample.compose(base._replace(face="ang"), seed=0)
        other_voice = sample.compose(base._replace(speech="ang"), seed=0)
        assert not np.array_equal(frames, other_face[0])
        assert np.array_equal(voice, other_face[1])
        assert np.array_equal(words, other_face[2])
        assert np.array_equal(frames, other_voice[0])
        assert not np.array_equal(voice, other_voice[1])
