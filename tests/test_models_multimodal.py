"""The fused model: absent modalities, frozen encoders, loading, both fusions."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.parallel.scatter_gather import scatter

from emotion.errors import UserError
from emotion.models.evaluate import take
from emotion.networks.aligned import DistanceAttention, onto_clock
from emotion.networks.fusion import drop_modalities
from emotion.networks.model import build_model, load_encoder
from emotion.recipe import describe, restore
from emotion.records import Batch, Clock, Stream
from tests.model_batches import (
    N_CLASSES,
    TEXT_DIM,
    alone,
    crop_batch,
    feature_batch,
    needs_bfloat16,
    only,
    settle,
    without,
)
from tests.recipes import recipe_of

HOLES = ((1, 0), (2, 4), (2, 5), (3, 10))
FUSIONS = ("aligned", "decoder", "concat")
MODALITIES = ("speech", "face", "text")


def recipe(mode="multimodal", **flags):
    return recipe_of(mode, N_CLASSES, text_dim=TEXT_DIM, **flags)


def fused_model(modality_dropout=0.0, **flags):
    torch.manual_seed(0)
    model = build_model(recipe(**flags)).eval()
    model.modality_dropout = modality_dropout
    return model


@pytest.fixture(scope="module", params=FUSIONS)
def model(request):
    return settle(fused_model(fusion=request.param, multitask=True), feature_batch(seed=5))


@pytest.fixture(scope="module")
def batch():
    return feature_batch(holes=HOLES)


def test_heads_are_integrated_and_with_multitask_the_single_ones(model, batch):
    with torch.no_grad():
        logits = model(batch)
        assert set(fused_model()(batch)) == {"integrated"}
    assert set(logits) == {"integrated", "speech", "face"}
    assert all(value.shape == (4, N_CLASSES) for value in logits.values())


def test_a_clip_is_answered_alike_alone_and_beside_longer_ones(model, batch):
    with torch.no_grad():
        together = model(batch)
        for row in range(4):
            for name, single in model(alone(batch, row)).items():
                assert together[name].std(dim=0).min() > 1e-3, "the clips are told apart at all"
                torch.testing.assert_close(single[0], together[name][row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_video_and_mlstm_encoders_fuse_without_leaking_either(fusion):
    features, crops = feature_batch(spectrogram=64), crop_batch(holes=HOLES[:2])
    batch = features._replace(streams=features.streams | crops.streams)
    model = settle(fused_model(fusion=fusion, face_model="resnet3d", text_model="mlstm_fcn"), batch)
    with torch.no_grad():
        together = model(batch)["integrated"]
        single = model(alone(batch, 1))["integrated"]
    torch.testing.assert_close(single[0], together[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_masked_modality_and_one_that_is_not_there_are_answered_alike(model, batch, modality):
    """Not there: as a reader makes it, a single step that is masked."""
    assert batch.streams[modality].mask.shape[1] > 1
    masked_batch = without(batch, modality)
    one_step = Stream(*(part[:, :1] for part in masked_batch.streams[modality]))
    with torch.no_grad():
        whole = model(batch)["integrated"]
        masked = model(masked_batch)["integrated"]
        missing = model(batch._replace(streams=batch.streams | {modality: one_step}))["integrated"]
        one_row = model(without(batch, modality, 2))["integrated"]
    torch.testing.assert_close(masked, missing, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one_row[2], masked[2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one_row[[0, 1, 3]], whole[[0, 1, 3]], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(masked, whole, atol=1e-4)


def test_absence_is_not_zeros(batch):
    model = fused_model()
    masked = without(batch, "face")
    with torch.no_grad():
        before = model(masked)["integrated"]
        model.fusion.absent["face"].add_(1.0)
        assert not torch.allclose(before, model(masked)["integrated"], atol=1e-4)
        moved = model(batch)["integrated"]
        model.fusion.absent["face"].add_(1.0)
        torch.testing.assert_close(moved, model(batch)["integrated"])


@pytest.mark.parametrize("training", [False, True])
def test_a_clip_without_anything_is_finite(batch, training):
    model = fused_model(multitask=True).train(training)
    for modality in MODALITIES:
        batch = without(batch, modality, [0, 2])
    logits = model(batch)
    sum(value.square().sum() for value in logits.values()).backward()
    assert all(value.isfinite().all() for value in logits.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_gradients_reach_every_parameter(model, batch):
    model.train()
    for modality, row in zip(MODALITIES, range(3), strict=True):
        batch = without(batch, modality, row)  # the absent tokens learn from absences only
    logits, labels = model(batch), torch.arange(4)
    model.zero_grad()
    sum(nn.functional.cross_entropy(value, labels) for value in logits.values()).backward()
    model.eval()
    missed = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # a softmax ignores what is added to all its scores, and words here have no times
    idle = ("score.2.bias", "read.text.distance")
    assert all(name.endswith(idle) for name in missed), missed
    assert all(p.grad is not None for p in model.parameters()), "distributed training needs all"
    model.zero_grad()


def test_every_parameter_is_in_the_graph_with_nothing_absent(batch):
    model = fused_model(modality_dropout=0.5).train()
    model(batch)["integrated"].sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_evaluation_is_deterministic(batch):
    model = fused_model(modality_dropout=0.9)
    with torch.no_grad():
        assert torch.equal(model(batch)["integrated"], model(batch)["integrated"])


@needs_bfloat16
def test_bfloat16_autocast_trains_without_nan(model, batch):
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(without(without(batch, "face", 1), "speech", [1, 2]))
    sum(value.float().square().sum() for value in logits.values()).backward()
    model.eval()
    assert all(value.isfinite().all() for value in logits.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())
    model.zero_grad()


def test_modality_dropout_never_takes_all_that_a_clip_has(batch):
    model = fused_model()
    batch = without(without(batch, "face", 0), "speech", [0, 1])  # clip 0 has words only
    sequences = model._encode_each(without(batch, "speech"))
    torch.manual_seed(0)
    seen = []
    for _ in range(200):
        kept = drop_modalities(sequences, 0.5)
        assert not kept["speech"].mask.any()
        seen.append(torch.stack([kept[m].mask.any(dim=1) for m in ("face", "text")], dim=1))
    kept = torch.stack(seen)  # (draws, clips, modalities)
    assert kept.any(dim=2).all()
    assert kept[:, 0].tolist() == [[False, True]] * 200
    shares = kept[:, 1:].float().mean(dim=(0, 1))
    assert ((shares - 0.75).abs() < 0.06).all(), "half are dropped, but never both (undone)"


def test_modality_dropout_of_zero_draws_nothing(batch):
    model = fused_model().train()
    model.encoders.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with torch.no_grad():
        model(batch)
    assert torch.equal(torch.rand(1), expected)


def test_attention_of_the_aligned_model_covers_what_is_there(batch):
    model = fused_model()
    batch = without(batch, "text", 3)
    with torch.no_grad():
        attention = model.attention(batch)
        sequence = model.encode(batch)
        _, read = model.fusion._decode(model._encode_each(batch), batch.clock)
    assert sequence.values.shape == (4, 3, 256)
    assert {name: tuple(own.weights.shape) for name, own in attention.items()} == {
        "speech": (4, 3),
        "face": (4, 24),
        "text": (4, 9),
    }
    for name, own in attention.items():
        present = 3 if name == "text" else 4
        torch.testing.assert_close(own.weights.sum(dim=1)[:present], torch.ones(present))
        assert own.time.shape == own.weights.shape
    assert not attention["text"].weights[3].any()
    assert not attention["face"].weights.masked_select(~batch.streams["face"].mask).any()
    assert {name: tuple(w.shape) for name, w in read.items()} == {
        "face": (4, 4, 3, 24),  # clips, heads, steps, frames
        "text": (4, 4, 3, 9),
    }
    torch.testing.assert_close(read["face"].sum(dim=3), torch.ones(4, 4, 3))
    torch.testing.assert_close(read["text"].sum(dim=3)[:3], torch.ones(3, 4, 3))
    assert not read["text"][3].any(), "a clip without words reads none"


def test_attention_of_the_decoder_covers_what_is_there(batch):
    model = fused_model(fusion="decoder")
    gone = {"speech": 0, "face": 2, "text": 3}
    for name, row in gone.items():
        batch = without(batch, name, row)
    with torch.no_grad():
        attention = model.attention(batch)
        streams = model._encode_each(batch)
        states, read = model.fusion._decode(streams, batch.clock)
    assert states.values.shape == (4, 3, 256)
    assert {name: tuple(weights.shape) for name, weights in read.items()} == {
        "speech": (4, 1, 3, 3),  # clips, one head, steps of the clock, steps of the modality
        "face": (4, 1, 3, 24),
        "text": (4, 1, 3, 9),
    }
    for name, row in gone.items():
        there = (torch.arange(4) != row).float()
        sums = read[name].sum(dim=3)
        torch.testing.assert_close(sums, there.view(4, 1, 1).expand_as(sums))
        weights, time = attention[name]
        torch.testing.assert_close(weights.sum(dim=1), there)
        assert not read[name][row].any()
        assert not weights[row].any()
        assert not weights[~streams[name].mask].any()
        assert time.shape == weights.shape


def test_attention_of_the_concat_model_is_its_poolings(batch):
    attention = fused_model(fusion="concat").attention(batch)
    assert {name: tuple(own.weights.shape) for name, own in attention.items()} == {
        "speech": (4, 3),
        "face": (4, 24),
        "text": (4, 9),
    }


def test_distance_is_penalised_from_the_start_and_always():
    torch.manual_seed(0)
    attention = DistanceAttention(8)
    assert attention.penalty().tolist() == pytest.approx([0.693] * 4, abs=1e-3)
    nn.init.zeros_(attention.query.weight)
    nn.init.zeros_(attention.query.bias)
    distance = torch.tensor([[[0.0, 1.0, 2.0]]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    _, weights = attention(torch.randn(1, 1, 8), torch.randn(1, 3, 8), everything, distance)
    ratio = weights[0, 0, 0, 1:] / weights[0, 0, 0, :-1]
    torch.testing.assert_close(ratio, torch.tensor([0.5, 0.5]))  # exp(-0.693) a second
    nn.init.constant_(attention.distance, -1.0)
    assert (attention.penalty() > 0).all()


def test_attention_width_has_to_divide_by_the_heads():
    with pytest.raises(ValueError, match="10"):
        DistanceAttention(10)


def test_without_times_distance_costs_nothing_and_stays_in_the_graph():
    torch.manual_seed(0)
    attention = DistanceAttention(8)
    nn.init.constant_(attention.distance, 1.0)
    query, memory = torch.randn(1, 2, 8), torch.randn(1, 3, 8)
    everything = torch.ones(1, 3, dtype=torch.bool)
    _, unknown = attention(query, memory, everything, torch.full((1, 2, 3), torch.nan))
    _, nowhere = attention(query, memory, everything, torch.zeros(1, 2, 3))
    assert torch.equal(unknown, nowhere)
    unknown[..., 0].sum().backward()
    assert attention.distance.grad is not None


def test_speech_is_laid_onto_the_clock_where_it_is_heard():
    """Two steps of speech that begin 1.024 s into a clip of five steps; the second has another."""
    time = torch.tensor([[1.28, 1.792], [0.256, 0.768]])
    mask = torch.tensor([[True, True], [True, False]])
    values = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    steps = (torch.arange(5) + 0.5) * 0.512
    clock = Clock(torch.ones(2, 5, dtype=torch.bool), steps.expand(2, 5))
    laid, there = onto_clock(Stream(values, mask, time), clock)
    assert laid.squeeze(2).tolist() == [[0, 0, 1, 2, 0], [3, 0, 0, 0, 0]]
    assert there.tolist() == [[False, False, True, True, False], [True] + [False] * 4]
    two_a_step = Stream(values, mask | True, torch.tensor([[1.2, 1.4], [0.1, 0.3]]))
    laid, _ = onto_clock(two_a_step, clock)
    assert laid.squeeze(2).tolist() == [[0, 0, 1.5, 0, 0], [3.5, 0, 0, 0, 0]]


def test_frozen_encoders_stay_as_they_are(batch):
    model = fused_model(multitask=True)
    model.freeze()
    model.train()
    assert model.fusion.training
    assert not any(module.training for module in model.encoders.modules())
    before = {name: value.clone() for name, value in model.encoders.state_dict().items()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.1)
    sum(value.square().sum() for value in model(batch).values()).backward()
    optimiser.step()
    after = model.encoders.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is not None for parameter in trained)


@pytest.mark.parametrize("modality", MODALITIES)
def test_encoders_load_from_single_models(batch, modality):
    torch.manual_seed(7)
    single = settle(build_model(recipe(modality)), batch)
    model = fused_model(multitask=True)
    load_encoder(model, modality, single.state_dict())
    with torch.no_grad():
        ours = model.encoders[modality](batch.streams[modality])
        theirs = single.encode(batch)
        torch.testing.assert_close(ours.values, theirs.values)
        if modality != "text":  # the text label is the integrated one: it has no head of its own
            torch.testing.assert_close(model(batch)[modality], single(batch)[modality])


def test_weights_of_another_model_are_refused_in_one_line():
    model = fused_model()
    with pytest.raises(UserError, match="--face_load_weights: these weights do not fit") as caught:
        load_encoder(model, "face", build_model(recipe("text")).state_dict())
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="--speech_load_weights"):
        load_encoder(model, "speech", build_model(recipe("text")).state_dict())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_stored_options_rebuild_the_model(fusion):
    first = recipe(fusion=fusion, multitask=True, hidden=32)
    again = restore(json.loads(json.dumps(describe(first))))
    assert again == first
    build_model(again).load_state_dict(build_model(first).state_dict())


def test_data_parallel_scatters_a_batch_and_leaves_none_alone(batch, monkeypatch):
    # torch's own walk over the batch, with the copy to a GPU at its end replaced by a cut
    cut = SimpleNamespace(apply=lambda targets, _, dim, tensor: tensor.chunk(len(targets), dim))
    monkeypatch.setattr("torch.nn.parallel.scatter_gather.Scatter", cut)
    words = only(batch, "text")._replace(clock=None)
    parts = scatter((words,), [0, 1])
    assert [type(part[0]) for part in parts] == [Batch, Batch]
    assert [part[0].clock for part in parts] == [None, None]
    assert [type(part[0].streams["text"]) for part in parts] == [Stream, Stream]
    joined = torch.cat([part[0].streams["text"].values for part in parts])
    assert torch.equal(joined, words.streams["text"].values)
    assert [type(part[0].clock) for part in scatter((batch,), [0, 1])] == [Clock, Clock]
    assert len(scatter((take(words, 0, 1),), [0, 1])) == 1


def test_data_parallel_gathers_the_answers(batch):
    model = fused_model(multitask=True)
    halves = [take(batch, 0, 2), take(batch, 2, 4)]
    with torch.no_grad():
        whole, parts = model(batch), [model(half) for half in halves]
    for name, value in whole.items():
        joined = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(joined, value, atol=1e-5, rtol=1e-5)
