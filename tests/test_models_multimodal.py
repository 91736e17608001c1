"""The fused model: absent modalities, frozen encoders, loading, both fusions."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from emotion.networks.multimodal import speech_clock
from torch import nn
from torch.nn.parallel.scatter_gather import scatter

from emotion.errors import UserError
from emotion.networks import ModelOptions, freeze_backbone
from emotion.networks.aligned import DistanceAttention
from emotion.networks.fusion import MODALITIES, drop_modalities
from emotion.networks.model import build_model, load_encoder
from emotion.records import Batch
from tests.model_batches import N_CLASSES, TEXT_DIM, alone, crop_batch, feature_batch, settle

HOLES = ((1, 0), (2, 4), (2, 5), (3, 10))
FUSIONS = ("aligned", "concat")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def options(mode="multimodal", **flags):
    return ModelOptions(mode, N_CLASSES, text_dim=TEXT_DIM, sequence_length=16, **flags)


def fused_model(**flags):
    torch.manual_seed(0)
    return build_model(options(**flags)).eval()


@pytest.fixture(scope="module", params=FUSIONS)
def model(request):
    return settle(fused_model(fusion=request.param, multitask=True), feature_batch(seed=5))


@pytest.fixture(scope="module")
def batch():
    return feature_batch(holes=HOLES)


def removed(batch, modality, rows=slice(None)):
    """The batch with a modality masked away, as evaluation without it does."""
    name = "speech_present" if modality == "speech" else f"{modality}_mask"
    mask = getattr(batch, name).clone()
    mask[rows] = False
    return batch._replace(**{name: mask})


def without(batch, modality):
    """The batch with the fields of a modality None."""
    fields = {
        "speech": ("speech", "speech_present"),
        "face": ("face", "face_mask", "face_time"),
        "text": ("text", "text_mask"),
    }
    return batch._replace(**dict.fromkeys(fields[modality]))


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
    batch = features._replace(face=crops.face, face_mask=crops.face_mask, face_time=crops.face_time)
    model = settle(fused_model(fusion=fusion, face_model="resnet3d", text_model="mlstm_fcn"), batch)
    with torch.no_grad():
        together = model(batch)["integrated"]
        single = model(alone(batch, 1))["integrated"]
    torch.testing.assert_close(single[0], together[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_masked_modality_and_one_that_is_not_there_are_answered_alike(model, batch, modality):
    with torch.no_grad():
        whole = model(batch)["integrated"]
        masked = model(removed(batch, modality))["integrated"]
        missing = model(without(batch, modality))["integrated"]
        one_row = model(removed(batch, modality, 2))["integrated"]
    torch.testing.assert_close(masked, missing, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one_row[2], masked[2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one_row[[0, 1, 3]], whole[[0, 1, 3]], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(masked, whole, atol=1e-4)


def test_absence_is_not_zeros(batch):
    model = fused_model()
    masked = removed(batch, "face")
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
        batch = removed(batch, modality, [0, 2])
    batch = batch._replace(speech_frames=torch.tensor([0, 50, 0, 96]))
    logits = model(batch)
    sum(value.square().sum() for value in logits.values()).backward()
    assert all(value.isfinite().all() for value in logits.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_gradients_reach_every_parameter(model, batch):
    model.train()
    for modality, row in zip(MODALITIES, range(3), strict=True):
        batch = removed(batch, modality, row)  # the absent tokens learn from absences only
    logits, labels = model(batch), torch.arange(4)
    model.zero_grad()
    sum(nn.functional.cross_entropy(value, labels) for value in logits.values()).backward()
    model.eval()
    missed = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # a softmax ignores what is added to all its scores
    assert all(name.endswith("score.2.bias") for name in missed), missed
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


def test_bfloat16_autocast_trains_without_nan(model, batch):
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(removed(removed(batch, "face", 1), "speech", [1, 2]))
    sum(value.float().square().sum() for value in logits.values()).backward()
    model.eval()
    assert all(value.isfinite().all() for value in logits.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())
    model.zero_grad()


def test_modality_dropout_never_takes_all_that_a_clip_has(batch):
    model = fused_model()
    batch = removed(removed(batch, "face", 0), "speech", [0, 1])  # clip 0 has words only
    sequences = model._encode_each(without(batch, "speech"))
    torch.manual_seed(0)
    seen = []
    for _ in range(200):
        kept = drop_modalities(sequences, 0.5)
        assert kept["speech"] is None
        seen.append(torch.stack([kept[m].mask.any(dim=1) for m in ("face", "text")], dim=1))
    kept = torch.stack(seen)  # (draws, clips, modalities)
    assert kept.any(dim=2).all()
    assert kept[:, 0].tolist() == [[False, True]] * 200
    shares = kept[:, 1:].float().mean(dim=(0, 1))
    assert ((shares - 0.75).abs() < 0.06).all(), "half are dropped, but never both (undone)"


def test_modality_dropout_of_zero_draws_nothing(batch):
    model = fused_model(dropout=0.0).train()
    model.encoders.eval()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with torch.no_grad():
        model(batch)
    assert torch.equal(torch.rand(1), expected)


def test_attention_of_the_aligned_model_covers_what_is_there(batch):
    model = fused_model()
    batch = removed(batch, "text", 3)
    with torch.no_grad():
        weights = model.attention(batch)
        sequence = model.encode(batch)
    assert sequence.values.shape == (4, 3, 256)
    assert {name: tuple(w.shape) for name, w in weights.items()} == {
        "face": (4, 3, 24),
        "text": (4, 3, 9),
        "pool": (4, 3),
    }
    torch.testing.assert_close(weights["face"].sum(dim=2), torch.ones(4, 3))
    torch.testing.assert_close(weights["text"].sum(dim=2)[:3], torch.ones(3, 3))
    torch.testing.assert_close(weights["pool"].sum(dim=1), torch.ones(4))
    assert not weights["text"][3].any()
    assert not weights["face"].masked_select(~batch.face_mask.unsqueeze(1)).any()
    assert set(model.attention(without(batch, "face"))) == {"text", "pool"}


def test_attention_of_the_concat_model_is_its_poolings(batch):
    weights = fused_model(fusion="concat").attention(batch)
    assert {name: tuple(w.shape) for name, w in weights.items()} == {
        "speech": (4, 3),
        "face": (4, 24),
        "text": (4, 9),
    }


def test_distance_is_penalised_from_the_start_and_always():
    torch.manual_seed(0)
    attention = DistanceAttention(8, timed=True)
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
        DistanceAttention(10, timed=False)


def test_the_clock_outlasts_the_voice(batch):
    clock = speech_clock(removed(batch, "speech"))
    assert clock.mask.tolist() == speech_clock(batch).mask.tolist()
    assert clock.mask.sum(dim=1).tolist() == [2, 2, 3, 3]
    by_length = speech_clock(without(batch, "speech"))
    assert torch.equal(by_length.mask, clock.mask)
    by_faces = speech_clock(
        Batch(face=batch.face, face_mask=batch.face_mask, face_time=batch.face_time)
    )
    # the last face is found at 1.2 s, 1.8 s, 2.5 s and 3.0 s
    assert by_faces.mask.sum(dim=1).tolist() == [3, 4, 5, 6]
    by_words = speech_clock(Batch(text=batch.text, text_mask=batch.text_mask))
    assert by_words.mask.shape == (4, 1)


def test_frozen_encoders_stay_as_they_are(batch):
    model = fused_model(multitask=True)
    freeze_backbone(model)
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


def test_a_single_model_has_no_backbone_to_freeze():
    with pytest.raises(UserError, match="--freeze_backbone"):
        freeze_backbone(build_model(options("text")))


@pytest.mark.parametrize("modality", MODALITIES)
def test_encoders_load_from_single_models(batch, modality):
    torch.manual_seed(7)
    single = settle(build_model(options(modality)), batch)
    model = fused_model(multitask=True)
    load_encoder(model, modality, single.state_dict())
    with torch.no_grad():
        ours, theirs = model.encoders[modality](batch), single.encode(batch)
        torch.testing.assert_close(ours.values, theirs.values)
        if modality != "text":  # the text label is the integrated one: it has no head of its own
            torch.testing.assert_close(model(batch)[modality], single(batch)[modality])


def test_weights_of_another_model_are_refused_in_one_line():
    model = fused_model()
    with pytest.raises(UserError, match="--face_load_weights: these weights do not fit") as caught:
        load_encoder(model, "face", build_model(options("text")).state_dict())
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="--speech_load_weights"):
        load_encoder(model, "speech", build_model(options("text")).state_dict())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_stored_options_rebuild_the_model(fusion):
    first = options(fusion=fusion, multitask=True, modality_dropout=0.1)
    rebuilt = build_model(ModelOptions(**dataclasses.asdict(first)))
    rebuilt.load_state_dict(build_model(first).state_dict())


def test_data_parallel_scatters_a_batch_and_leaves_none_alone(batch, monkeypatch):
    # torch's own walk over the batch, with the copy to a GPU at its end replaced by a cut
    cut = SimpleNamespace(apply=lambda targets, _, dim, tensor: tensor.chunk(len(targets), dim))
    monkeypatch.setattr("torch.nn.parallel.scatter_gather.Scatter", cut)
    words_only = Batch(text=batch.text, text_mask=batch.text_mask)
    parts = scatter((words_only,), [0, 1])
    assert [type(part[0]) for part in parts] == [Batch, Batch]
    assert [part[0].speech for part in parts] == [None, None]
    assert torch.equal(torch.cat([part[0].text for part in parts]), batch.text)
    assert len(scatter((Batch(text=batch.text[:1]),), [0, 1])) == 1


def test_data_parallel_gathers_the_answers(batch):
    model = fused_model(multitask=True)
    halves = [Batch(*[f if f is None else f[s] for f in batch]) for s in (slice(2), slice(2, 4))]
    with torch.no_grad():
        whole, parts = model(batch), [model(half) for half in halves]
    for name, value in whole.items():
        joined = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(joined, value, atol=1e-5, rtol=1e-5)
