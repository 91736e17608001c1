"""The clips that batch-norm statistics are estimated on."""

from collections import Counter

import torch

from emotion.training.options import TrainOptions
from emotion.training.setup import Loaders, build_task
from tests.features import make_features


def sampled(folder, count, seed=0):
    """Names of the clips that a run with so many ``BN_SAMPLES`` looks at."""
    options = TrainOptions(
        mode="speech",
        features_dir=str(folder),
        num_workers=0,
        batch_size=8,
        n_folds=4,
        fold=2,
        seed=seed,
    )
    loaders = Loaders(build_task(options), options, torch.device("cpu"))
    stems = []
    evaluation = loaders.evaluation

    def noted(examples, **settings):
        stems.extend(example.record.stem for example in examples)
        return evaluation(examples, **settings)

    loaders.evaluation = noted
    clips = sum(
        len(batch.streams["speech"].mask) for batch in loaders.clean_training_batches(count)
    )
    assert clips == len(stems)
    return loaders, stems


def test_a_manifest_that_is_sorted_by_speaker_gives_each_of_them_a_fair_share(tmp_path):
    """Clips of 8 speakers in turn: every fourth clip would be of two speakers alone."""
    make_features(tmp_path, clips={"all": 224}, frames=(33, 40), speakers=8, modalities=("speech",))
    loaders, stems = sampled(tmp_path, 42)
    speaker = {e.record.stem: e.record.speaker for e in loaders.task.parts.train}
    assert len(speaker) == 112
    assert len(set(stems)) == len(stems) == 42
    count = Counter(speaker[stem] for stem in stems)
    assert len(count) == 4
    assert min(count.values()) >= 5
    assert sampled(tmp_path, 42)[1] == stems
    assert sampled(tmp_path, 42, seed=1)[1] != stems


def test_more_samples_than_clips_are_all_of_them(tmp_path):
    make_features(tmp_path, clips={"all": 56}, frames=(33, 40), speakers=8, modalities=("speech",))
    loaders, stems = sampled(tmp_path, 500)
    assert sorted(stems) == sorted(e.record.stem for e in loaders.task.parts.train)
