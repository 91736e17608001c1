"""Clips without a face, a voice or words change no batch statistics, in training or afterwards."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from emotion.models.evaluate import each_tensor
from emotion.networks.model import build_model
from emotion.networks.presence import encode_present
from emotion.records import Stream
from emotion.training.batch_norm import reestimate_batch_norm
from tests.model_batches import N_CLASSES, TEXT_DIM, crop_batch, feature_batch, with_stream, without
from tests.recipes import recipe_of

MODELS = {
    "speech": {"speech_frames": 96},
    "face": {"face_model": "resnet3d"},
    "text": {"text_model": "mlstm_fcn"},
}


def fused():
    torch.manual_seed(0)
    flags = MODELS["speech"] | MODELS["face"] | MODELS["text"]
    model = build_model(recipe_of("multimodal", N_CLASSES, text_dim=TEXT_DIM, hidden=8, **flags))
    network = model.encoders["speech"].network
    network._global_params = network._global_params._replace(drop_connect_rate=0.0)
    return model


def clips():
    crops = crop_batch()
    batch = feature_batch(words=100)  # two have more than mlstm_fcn has steps, two fewer
    return batch._replace(streams=batch.streams | crops.streams)


def rows(batch, kept):
    return each_tensor(batch, lambda values: values[kept])


def rubbish(batch, modality, gone):
    """What nobody should read, in the rows that are gone."""
    values = batch.streams[modality].values.clone()
    values[gone] = 99
    return with_stream(batch, modality, values=values)


def statistics(encoder):
    return [
        value.clone()
        for norm in encoder.modules()
        if isinstance(norm, _BatchNorm)
        for value in (norm.running_mean, norm.running_var)
    ]


@pytest.mark.parametrize("modality", MODELS)
def test_in_training_the_statistics_are_those_of_the_clips_that_are_there(modality):
    batch = rubbish(without(clips(), modality, [0, 2]), modality, [0, 2])
    model, other = fused().train(), fused().train()
    model(batch)
    other(rows(batch, [1, 3]))
    found, wanted = (statistics(m.encoders[modality]) for m in (model, other))
    assert found
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("modality", MODELS)
def test_statistics_that_are_estimated_anew_are_too(modality):
    batch = rubbish(without(clips(), modality, [0, 2]), modality, [0, 2])
    nobody = without(clips(), modality, [0, 1, 2, 3])
    model, other = fused(), fused()
    reestimate_batch_norm(model, [batch, nobody])
    reestimate_batch_norm(other, [rows(batch, [1, 3])])
    found, wanted = (statistics(m.encoders[modality]) for m in (model, other))
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("modality", MODELS)
def test_a_batch_without_anybody_trains_every_parameter_by_nothing(modality):
    """Distributed training waits for each gradient on each rank."""
    batch = without(clips(), modality, [0, 1, 2, 3])
    model = fused().train()
    encoder = model.encoders[modality]
    before = statistics(encoder)
    sum(value.square().sum() for value in model(batch).values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in encoder.parameters())
    for one, two in zip(statistics(encoder), before, strict=True):
        assert torch.equal(one, two)
    assert all(m.training for m in encoder.modules() if isinstance(m, _BatchNorm))


def test_a_single_face_model_leaves_out_a_clip_whose_crops_show_nobody():
    torch.manual_seed(0)
    model = build_model(recipe_of("face", N_CLASSES, face_model="resnet3d"))
    other = build_model(recipe_of("face", N_CLASSES, face_model="resnet3d"))
    other.load_state_dict(model.state_dict())
    batch = without(crop_batch(), "face", [1])
    model.train()(batch)
    other.train()(rows(batch, [0, 2, 3]))
    for one, two in zip(statistics(model), statistics(other), strict=True):
        torch.testing.assert_close(one, two)


class Doubling(nn.Module):
    def forward(self, stream):
        return Stream(2 * stream.values, stream.mask, stream.time)


def test_clips_come_back_to_their_rows():
    batch = without(feature_batch(), "text", [0, 2])
    words = batch.streams["text"]
    found = encode_present(Doubling(), words)
    torch.testing.assert_close(found.values[[1, 3]], 2 * words.values[[1, 3]])
    assert not found.values[[0, 2]].any()
    assert torch.equal(found.mask, words.mask)
