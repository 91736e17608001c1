"""Every mode learns 14 clips to the last one, judged in evaluation; no clip sees its neighbours.

A mode that trains well and evaluates at chance is the classic failure of this field: batch-norm
statistics that lag behind, augmentation left on, padding that leaks.
"""

import dataclasses

import numpy as np
import pytest
import torch

from emotion.data.dataset import collate
from emotion.metrics import score
from emotion.models.evaluate import evaluate
from emotion.networks import mlstm_fcn
from emotion.training.loop import train_one_epoch
from emotion.training.options import TrainOptions
from emotion.training.run import build_engine, validation_model
from emotion.training.scoring import predict
from emotion.training.setup import Loaders, build_initial_model, build_task
from tests.features import make_features
from tests.slim import slim

CPU = torch.device("cpu")
CROPS = {"face_model": "resnet3d", "face_size": 32}
MODES = {  # what is trained, and for how many epochs of two steps at which learning rate
    "speech": ({"mode": "speech"}, 12, 1e-3),
    "speech_small": ({"mode": "speech", "speech_model": "efficientnet_small"}, 12, 1e-3),
    "face": ({"mode": "face"}, 6, 4e-3),
    "face_video": ({"mode": "face", **CROPS}, 4, 3e-4),
    "face_mlstm_fcn": ({"mode": "face", "face_model": "mlstm_fcn"}, 6, 4e-3),
    "face_mlstm_fcn_resampled": ({"mode": "face", "face_model": "mlstm_fcn"}, 8, 4e-3),
    "text": ({"mode": "text"}, 16, 1e-2),
    "text_mlstm_fcn": ({"mode": "text", "text_model": "mlstm_fcn"}, 12, 4e-3),
    "aligned": ({"mode": "multimodal"}, 6, 2e-3),
    "decoder": ({"mode": "multimodal", "fusion": "decoder"}, 6, 2e-3),
    "concat": ({"mode": "multimodal", "fusion": "concat"}, 6, 2e-3),
}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """14 clips that are all padded to 64 frames."""
    folder = tmp_path_factory.mktemp("features")
    make_features(folder, clips={"train": 14, "val": 7}, frames=(33, 64))
    return folder


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Clips of three padded lengths; of some a modality is missing."""
    folder = tmp_path_factory.mktemp("uneven")
    absent = {"speech": {1}, "video": {2}, "embedding": {2}, "text": {3}}
    make_features(folder, clips={"train": 1, "val": 7}, frames=(20, 96), absent=absent)
    return folder


def options_of(features, **flags):
    return TrainOptions(
        features_dir=str(features),
        batch_size=7,
        micro_batch="7",
        num_workers=0,
        pretrained="false",
        mixup_alpha=0.0,
        warmup=0.5,
        **flags,
    )


def overfit(options):
    """Train without any file written; the task and the answers for the training clips."""
    task = build_task(options)
    loaders = Loaders(task, options, CPU)
    engine = build_engine(options, task, build_initial_model(options, task), loaders, CPU)
    engine.augmentation.parts = ()  # no SpecAugment
    for epoch in range(options.n_epoch):
        loaders.train_batches.epoch = epoch
        torch.manual_seed(epoch)
        train_one_epoch(engine, loaders.train, len(loaders.train_batches), epoch)
    model = validation_model(engine, loaders)
    clips = task.parts.train
    return task, model, predict(model, loaders.evaluation(clips), clips, CPU, None)


def answers_alone_and_together(options, model):
    """Logits of the validation clips: by the run's own loader, one by one, and in one batch."""
    task = build_task(options)
    loaders = Loaders(task, options, CPU)
    clips = task.parts.val
    dataset = loaders.dataset(clips)
    groups = [[row] for row in range(len(clips))], [list(range(len(clips)))]
    loaded = predict(model, loaders.val, clips, CPU, None)
    yield loaded.logits[task.main_head]
    for batches in groups:
        data = [collate([dataset[0, row] for row in rows]) for rows in batches]
        yield evaluate(model, data, loaded.ids, CPU).logits[task.main_head]


@pytest.mark.parametrize("name", MODES)
def test_every_mode_overfits_14_clips_and_answers_a_clip_alike_alone(
    features, uneven, name, monkeypatch
):
    if name.endswith("resampled"):
        monkeypatch.setattr(mlstm_fcn, "LENGTH", 4)  # steps; most clips have more frames
    if name in ("decoder", "concat"):
        slim(monkeypatch)  # speech and aligned have the large network
    flags, epochs, rate = MODES[name]
    options = options_of(features, n_epoch=epochs, learning_rate=rate, **flags)
    task, model, answers = overfit(options)
    scores = score(answers.logits[task.main_head], answers.targets[:, 0], task.class_names)
    assert scores["accuracy"] == 1.0, scores

    other = dataclasses.replace(options, features_dir=str(uneven), batch_size=2)
    loaded, alone, together = answers_alone_and_together(other, model)
    assert np.isfinite(loaded).all()
    assert len(loaded) >= 6  # a single mode leaves out the clip without its modality
    np.testing.assert_allclose(alone, loaded, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(together, loaded, rtol=1e-5, atol=1e-5)
