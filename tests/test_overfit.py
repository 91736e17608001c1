"""Every mode learns 14 clips to the last one, judged in evaluation; no clip sees its neighbours.

A mode that trains well and evaluates at chance is the classic failure of this field: batch-norm
statistics that lag behind, augmentation left on, padding that leaks.
"""

import dataclasses

import numpy as np
import pytest
import torch

from src.data.dataset import collate
from src.metrics import score
from src.training.loop import train_one_epoch
from src.training.options import TrainOptions
from src.training.run import build_engine, validation_model
from src.training.scoring import predict
from src.training.setup import Loaders, build_initial_model, build_task
from tests.features import make_features

CPU = torch.device("cpu")
CROPS = {"face_model": "resnet3d", "face_frames": 4, "face_size": 32}
SHORT = {"sequence_length": 16}
MODES = {  # what is trained, and for how many epochs of two steps at which learning rate
    "speech": ({"mode": "speech"}, 6, 2e-3),
    "speech_vanilla": ({"mode": "speech", "speech_model": "vanilla"}, 6, 2e-3),
    "face": ({"mode": "face"}, 4, 4e-3),
    "face_video": ({"mode": "face", **CROPS}, 4, 3e-4),
    "face_mlstm_fcn": ({"mode": "face", "face_model": "mlstm_fcn", **SHORT}, 4, 4e-3),
    "text": ({"mode": "text"}, 12, 1e-2),
    "text_mlstm_fcn": ({"mode": "text", "text_model": "mlstm_fcn", **SHORT}, 10, 4e-3),
    "aligned": ({"mode": "multimodal"}, 4, 2e-3),
    "concat": ({"mode": "multimodal", "fusion": "concat"}, 4, 2e-3),
}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    make_features(folder, clips={"train": 14, "val": 7}, frames=(20, 64))
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def options_of(features, **flags):
    return TrainOptions(
        features_dir=str(features),
        batch_size=7,
        micro_batch="7",
        num_workers=0,
        pretrained="false",
        mixup_alpha=0.0,
        spec_augment=False,
        warmup=0.5,
        **flags,
    )


def overfit(options):
    """Train without any file written; the task and the answers for the training clips."""
    task = build_task(options)
    loaders = Loaders(task, options, CPU)
    engine = build_engine(options, task, build_initial_model(options, task), loaders, CPU)
    for epoch in range(options.n_epoch):
        loaders.train_batches.epoch = epoch
        torch.manual_seed(epoch)
        train_one_epoch(engine, loaders.train, len(loaders.train_batches), epoch)
    model = validation_model(options, engine, loaders)
    clips = task.parts.train
    return task, model, predict(model, loaders.evaluation(clips), clips, CPU, None)


@pytest.mark.parametrize("name", MODES)
def test_every_mode_overfits_14_clips_and_answers_alike_alone(features, name):
    flags, epochs, rate = MODES[name]
    options = options_of(features, n_epoch=epochs, learning_rate=rate, **flags)
    task, model, answers = overfit(options)
    logits = answers.logits[task.main_head]
    scores = score(logits, answers.targets[:, 0], task.class_names)
    assert scores["accuracy"] == 1.0, scores
    alone = answers_alone(options, task, model)
    np.testing.assert_allclose(alone[task.main_head], logits, rtol=0, atol=1e-5)
    mixed = answers_in_a_batch_of_all(options, task, model)
    np.testing.assert_allclose(mixed[task.main_head], logits, rtol=0, atol=1e-5)
