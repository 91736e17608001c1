"""The engine, against numbers worked out by hand on models small enough for that."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from src.batch import Batch
from src.data.dataset import Labelled
from src.errors import UserError
from src.training.batch_norm import live_batch_norms, reestimate_batch_norm
from src.training.loop import (
    LOOK_EVERY,
    Augmentation,
    Engine,
    accumulate_gradient,
    augment,
    evaluate,
    hide,
    train_one_epoch,
    update_weights,
)
from src.training.losses import EmotionLoss
from src.training.memory import bytes_per_clip, micro_batch_size
from src.training.schedule import MOMENTUM, WARMUP_START, build_optimizer, build_schedule

WIDTH, CLASSES = 5, 3
RATE, DECAY = 0.1, 0.05
CPU = torch.device("cpu")


class Linear(nn.Module):
    """One linear layer a head, on the first word of each clip."""

    def __init__(self, heads=("text",)):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleDict({name: nn.Linear(WIDTH, CLASSES) for name in heads})

    def forward(self, batch):
        return {name: layer(batch.text[:, 0]) for name, layer in self.layers.items()}


def labelled(size, seed=0, targets=None):
    rng = np.random.default_rng(seed)
    text = torch.from_numpy(rng.standard_normal((size, 1, WIDTH)).astype(np.float32))
    if targets is None:
        targets = rng.integers(0, CLASSES, (size, 3))
    batch = Batch(text=text, text_mask=torch.ones(size, 1, dtype=torch.bool))
    return Labelled(batch, torch.as_tensor(targets), [f"b{seed}c{row}" for row in range(size)])


def engine_of(model, optim="sgd", smoothing=0.0, targets=None, weights=None, **settings):
    targets = targets or dict.fromkeys(model.layers, "integrated")
    optimizer = build_optimizer(model, optim, RATE, DECAY)
    settings.setdefault("augmentation", Augmentation(mixup_alpha=0.0))
    return Engine(
        model=model,
        parallel=model,
        loss=EmotionLoss(targets, weights or dict.fromkeys(targets, 1.0), smoothing),
        optimizer=optimizer,
        schedule=build_schedule(optimizer, 0, 10**9),
        device=CPU,
        n_classes=CLASSES,
        **settings,
    )


def gradient(engine, data, group=1):
    """Gradient of one batch's loss, by parameter."""
    engine.optimizer.zero_grad()
    inputs, soft = augment(engine, data, torch.Generator())
    loss = accumulate_gradient(engine, inputs, soft, group)
    return loss, [parameter.grad.clone() for parameter in engine.model.parameters()]


def by_hand(weight, bias, data, smoothing=0.0):
    """Loss and gradients of mean cross-entropy in float64."""
    values = data.inputs.text[:, 0].double().numpy()
    wanted = np.eye(CLASSES)[data.targets[:, 0]] * (1 - smoothing) + smoothing / CLASSES
    logits = values @ weight.T + bias
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = -(wanted * np.log(share)).sum(1).mean()
    apart = (share - wanted) / len(values)
    return loss, apart.T @ values, apart.sum(0)


def numbers(model):
    layer = model.layers["text"]
    return [p.detach().double().numpy().copy() for p in (layer.weight, layer.bias)]


# -- one step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_and_gradient_equal_the_formula(smoothing):
    model, data = Linear(), labelled(6)
    loss, grads = gradient(engine_of(model, smoothing=smoothing), data)
    expected = by_hand(*numbers(model), data, smoothing)
    for found, wanted in zip([loss, *grads], expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_two_sgd_steps_equal_nesterov_by_hand():
    model, data = Linear(), labelled(6)
    engine = engine_of(model, "sgd")
    expected, velocity = numbers(model), [0.0, 0.0]
    for epoch in range(2):
        train_one_epoch(engine, [data], 1, epoch)
        _, *grads = by_hand(*expected, data)
        grads[0] += DECAY * expected[0]  # the weight is decayed, the bias is not
        velocity = [MOMENTUM * v + g for v, g in zip(velocity, grads, strict=True)]
        moves = [g + MOMENTUM * v for g, v in zip(grads, velocity, strict=True)]
        expected = [p - RATE * move for p, move in zip(expected, moves, strict=True)]
    for found, wanted in zip(numbers(model), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_two_adamw_steps_equal_the_paper_by_hand():
    model, data = Linear(), labelled(6)
    engine = engine_of(model, "adamw")
    expected, first, second = numbers(model), [0.0, 0.0], [0.0, 0.0]
    for step in (1, 2):
        train_one_epoch(engine, [data], 1, step)
        _, *grads = by_hand(*expected, data)
        expected[0] = expected[0] * (1 - RATE * DECAY)
        for i, grad in enumerate(grads):
            first[i] = 0.9 * first[i] + 0.1 * grad
            second[i] = 0.999 * second[i] + 0.001 * grad**2
            root = np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8
            expected[i] = expected[i] - RATE * first[i] / (1 - 0.9**step) / root
    for found, wanted in zip(numbers(model), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_mixup_trains_on_both_labels():
    model, data = Linear(), labelled(6)
    engine = engine_of(model, augmentation=Augmentation(mixup_alpha=0.5))
    inputs, soft = augment(engine, data, torch.Generator().manual_seed(1))
    loss = accumulate_gradient(engine, inputs, soft)
    log_share = model(inputs)["text"].log_softmax(1)
    assert (soft.max(-1).values < 1).any()
    torch.testing.assert_close(loss, -(soft[0] * log_share).sum(1).mean().detach())


# -- parts of a batch, several batches a step -----------------------------------------------------


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 7, 100])
def test_splitting_a_batch_keeps_loss_and_gradient(micro_batch):
    heads = ("text", "speech")
    targets = {"text": "integrated", "speech": "speech"}
    labels = np.array([[0, 0, 1], [1, 0, -1], [2, 0, -1], [0, 0, -1], [1, 0, 2], [2, 0, 0]])
    data = labelled(6, targets=labels)
    whole = gradient(engine_of(Linear(heads), targets=targets), data)
    parts = gradient(engine_of(Linear(heads), targets=targets, micro_batch=micro_batch), data)
    torch.testing.assert_close(whole, parts)


def test_accumulation_with_a_remainder_steps_on_the_mean_of_each_group():
    batches = [labelled(4, seed) for seed in range(5)]
    model = Linear()
    engine = engine_of(model, accumulate=2)
    steps = count_steps(engine)
    train_one_epoch(engine, batches, 5, 0)
    assert len(steps) == 3
    other = Linear()
    reference = engine_of(other)
    for group in (batches[:2], batches[2:4], batches[4:]):
        inputs = Batch(text=torch.cat([data.inputs.text for data in group]))
        loss = nn.functional.cross_entropy(
            other(inputs)["text"], torch.cat([data.targets[:, 0] for data in group])
        )
        loss.backward()
        update_weights(reference)
    for found, wanted in zip(numbers(model), numbers(other), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def count_steps(engine):
    steps = []
    engine.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    return steps


def test_the_epochs_loss_is_the_mean_over_clips_not_over_batches():
    batches = [labelled(2, 0), labelled(8, 1)]
    model = Linear()
    engine = engine_of(model)
    for group in engine.optimizer.param_groups:
        group["lr"] = 0.0
    engine.schedule.base_lrs = [0.0, 0.0]
    losses = [by_hand(*numbers(model), data)[0] for data in batches]
    expected = (2 * losses[0] + 8 * losses[1]) / 10
    assert train_one_epoch(engine, batches, 2, 0) == pytest.approx(expected, rel=1e-5)


# -- the loss -------------------------------------------------------------------------------------


def test_label_smoothing_is_torchs():
    logits = torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 0, 0]])
    loss = EmotionLoss({"text": "integrated"}, {"text": 1.0}, 0.2)
    soft = loss.soft_labels(targets, CLASSES)
    found = loss({"text": logits}, soft, soft.sum((1, 2)))
    wanted = nn.CrossEntropyLoss(label_smoothing=0.2)(logits, targets[:, 0])
    torch.testing.assert_close(found, wanted)


def test_unlabelled_clips_have_no_weight_in_their_head():
    targets = {"text": "integrated", "face": "face"}
    labels = np.array([[0, 1, 0], [1, -1, 0], [2, 2, 0]])
    data = labelled(3, targets=labels)
    _, grads = gradient(engine_of(Linear(("text", "face")), targets=targets), data)
    kept = Labelled(
        Batch(text=data.inputs.text[[0, 2]]), data.targets[[0, 2]], [data.ids[0], data.ids[2]]
    )
    _, some = gradient(engine_of(Linear(("text", "face")), targets=targets), kept)
    _, every = gradient(engine_of(Linear(("text", "face"))), data)
    torch.testing.assert_close(grads[2:], some[2:])  # face: only its two clips
    torch.testing.assert_close(grads[:2], every[:2])  # integrated: all three


def test_a_head_without_any_label_in_a_batch_adds_nothing():
    targets = {"text": "integrated", "face": "face"}
    data = labelled(3, targets=np.array([[0, -1, 0], [1, -1, 0], [2, -1, 0]]))
    loss, grads = gradient(engine_of(Linear(("text", "face")), targets=targets), data)
    alone, _ = gradient(engine_of(Linear(), targets={"text": "integrated"}), data)
    torch.testing.assert_close(loss, alone)
    assert all(not grad.any() for grad in grads[2:])


@pytest.mark.parametrize("lam", [0.0, 0.5, 2.0])
def test_lam_weighs_the_mean_of_the_speech_and_face_losses(lam):
    names = ("integrated", "speech", "face")
    targets = {name: name for name in names}
    weights = dict.fromkeys(names, lam / 2) | {"integrated": 1.0}
    labels = torch.tensor([[0, 1, 2], [1, 1, 0], [2, 0, 1]])
    logits = {name: torch.randn(3, CLASSES) for name in names}
    loss = EmotionLoss(targets, weights, 0.0)
    soft = loss.soft_labels(labels, CLASSES)
    each = {
        name: nn.functional.cross_entropy(logits[name], labels[:, column])
        for name, column in {"integrated": 0, "face": 1, "speech": 2}.items()
    }
    wanted = each["integrated"] + lam * (each["speech"] + each["face"]) / 2
    torch.testing.assert_close(loss(logits, soft, soft.sum((1, 2))), wanted)


# -- what may go wrong ----------------------------------------------------------------------------


def test_clipping_bounds_the_whole_gradients_norm():
    model, data = Linear(), labelled(6)
    _, grads = gradient(engine_of(model), data)
    norm = math.sqrt(sum(float(grad.square().sum()) for grad in grads))
    engine = engine_of(model, clip_norm=norm / 4)
    inputs, soft = augment(engine, data, torch.Generator())
    accumulate_gradient(engine, inputs, soft)
    seen = []
    engine.optimizer.register_step_pre_hook(
        lambda *_: seen.extend(parameter.grad.clone() for parameter in model.parameters())
    )
    update_weights(engine)
    for clipped, grad in zip(seen, grads, strict=True):
        torch.testing.assert_close(clipped, grad / 4, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad_step", [0, 2, LOOK_EVERY + 1])
def test_a_loss_that_is_not_finite_names_its_step_and_clips(bad_step):
    batches = [labelled(2, seed) for seed in range(LOOK_EVERY + 3)]
    batches[bad_step].inputs.text[0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=rf"nan in epoch 4, step {bad_step}, clips b{bad_step}c0 b"):
        train_one_epoch(engine_of(Linear()), batches, len(batches), 4)


# -- mixed precision ------------------------------------------------------------------------------


def test_a_scaler_changes_nothing_and_steps_once():
    """Scaling by a power of two is exact: so unscaling comes before clipping."""
    batches = [labelled(6, seed) for seed in range(3)]
    plain, scaled = Linear(), Linear()
    train_one_epoch(engine_of(plain, clip_norm=0.1), batches, 3, 0)
    engine = engine_of(scaled, clip_norm=0.1, scaler=torch.amp.GradScaler("cpu"), accumulate=1)
    steps = count_steps(engine)
    train_one_epoch(engine, batches, 3, 0)
    assert len(steps) == 3
    for found, wanted in zip(numbers(scaled), numbers(plain), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_scaler_leaves_out_a_step_that_overflows_and_lowers_its_scale():
    model, data = Linear(), labelled(6)
    data.inputs.text.mul_(100)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    engine = engine_of(model, scaler=scaler)
    before = numbers(model)
    train_one_epoch(engine, [data], 1, 0)
    for found, wanted in zip(numbers(model), before, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert scaler.get_scale() == 2.0**126


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_trains_close_to_full(dtype):
    batches = [labelled(16, seed) for seed in range(6)]
    plain, half = Linear(), Linear()
    wanted = train_one_epoch(engine_of(plain), batches, 6, 0)
    scaler = torch.amp.GradScaler("cpu") if dtype == torch.float16 else None
    found = train_one_epoch(engine_of(half, amp=dtype, scaler=scaler), batches, 6, 0)
    assert found == pytest.approx(wanted, rel=0.02)
    assert half.layers["text"].weight.dtype == torch.float32


# -- optimizer and schedule -----------------------------------------------------------------------


@pytest.mark.parametrize("optim", ["adamw", "sgd"])
def test_norms_and_biases_are_not_decayed_and_frozen_parts_left_out(optim):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.LSTM(2, 2), nn.LayerNorm(2), nn.Linear(2, 2)
    )
    model[4].requires_grad_(False)
    decay = {
        id(p): group["weight_decay"]
        for group in build_optimizer(model, optim, RATE, DECAY).param_groups
        for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        if name.startswith("4."):
            assert id(parameter) not in decay
        else:
            matrix = name == "0.weight" or (name.startswith("2.") and "weight" in name)
            assert decay[id(parameter)] == (DECAY if matrix else 0.0), name


@pytest.mark.parametrize(("warmup", "total"), [(4, 20), (0, 10), (10, 10), (1, 1)])
def test_learning_rates_rise_linearly_and_fall_as_a_cosine(warmup, total):
    optimizer = build_optimizer(Linear(), "sgd", RATE, DECAY)
    schedule = build_schedule(optimizer, warmup, total)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    warmup = min(warmup, total - 1)
    for step, rate in enumerate(rates):
        if step < warmup:
            wanted = RATE * (WARMUP_START + (1 - WARMUP_START) * step / warmup)
        else:
            wanted = RATE * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
        assert rate == pytest.approx(wanted, rel=1e-6), step
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_the_schedule_moves_once_a_step_of_the_optimizer():
    engine = engine_of(Linear(), accumulate=2)
    train_one_epoch(engine, [labelled(2, seed) for seed in range(5)], 5, 0)
    assert engine.schedule.last_epoch == 3


def test_averaged_weights_follow_the_formula():
    model = Linear()
    engine = engine_of(model)
    engine.ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    expected = None
    for epoch in range(4):
        train_one_epoch(engine, [labelled(4, epoch)], 1, epoch)
        now = model.layers["text"].weight.detach().clone()
        expected = now if expected is None else 0.9 * expected + 0.1 * now
    torch.testing.assert_close(engine.ema.module.layers["text"].weight.detach(), expected)


# -- batch norm -----------------------------------------------------------------------------------


class Normed(nn.Module):
    """Batch norm over words; ``by_length`` runs it on clips of one length at a time."""

    def __init__(self, by_length=False):
        super().__init__()
        self.frozen = nn.BatchNorm1d(WIDTH)
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.by_length = by_length

    def forward(self, batch):
        values = self.dropout(self.frozen(batch.text.transpose(1, 2)))
        if not self.by_length:
            return {"text": self.norm(values).mean(2)}
        lengths = batch.text_mask.sum(1)
        return {n: self.norm(values[lengths == n]) for n in lengths.unique().tolist()}


def word_batches(sizes, shift=1.0):
    rng = np.random.default_rng(0)
    batches = []
    for number, size in enumerate(sizes):
        text = rng.standard_normal((size, 8, WIDTH)) * 2 + shift * number
        mask = torch.arange(8) < torch.from_numpy(rng.integers(5, 9, size))[:, None]
        batches.append(Batch(text=torch.from_numpy(text.astype(np.float32)), text_mask=mask))
    return batches


@pytest.mark.parametrize("by_length", [False, True])
def test_batch_norm_gets_the_statistics_of_the_whole_set(by_length):
    batches = word_batches([200, 200, 85])
    model = Normed(by_length)
    model.frozen.requires_grad_(False)
    model.norm.momentum = 0.03
    model.train()
    reestimate_batch_norm(model, batches)
    values = torch.cat([batch.text for batch in batches]).flatten(0, 1)
    scale = 1 / (1 + model.frozen.eps) ** 0.5  # the frozen norm before it
    torch.testing.assert_close(model.norm.running_mean, values.mean(0) * scale)
    torch.testing.assert_close(
        model.norm.running_var, values.var(0) * scale**2, rtol=0.01, atol=0.0
    )
    assert model.norm.momentum == 0.03
    assert not any(module.training for module in model.modules())


def test_frozen_batch_norms_are_left_alone():
    model = Normed()
    model.frozen.requires_grad_(False)
    before = copy.deepcopy(model.frozen.state_dict())
    assert live_batch_norms(model) == [model.norm]
    reestimate_batch_norm(model, word_batches([8, 8]))
    for name, value in model.frozen.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_estimating_twice_gives_the_same_and_leaves_no_hook():
    model, batches = Normed(), word_batches([9, 4])
    reestimate_batch_norm(model, batches)
    first = copy.deepcopy(model.state_dict())
    reestimate_batch_norm(model, batches)
    assert all(torch.equal(value, first[name]) for name, value in model.state_dict().items())
    model.train()
    model(batches[0])
    assert not torch.equal(model.norm.running_mean, first["norm.running_mean"])
    assert model.norm._forward_hooks == {}


# -- evaluation -----------------------------------------------------------------------------------


def test_answers_come_in_the_order_wanted_whatever_the_batches():
    model = Linear()
    data = [labelled(3, 0), labelled(2, 1)]
    order = [data[1].ids[0], data[0].ids[2], data[0].ids[0], data[1].ids[1], data[0].ids[1]]
    found = evaluate(model, data, order, CPU)
    assert found.ids == order
    values = torch.cat([part.inputs.text for part in data])[[3, 2, 0, 4, 1]]
    torch.testing.assert_close(
        torch.from_numpy(found.logits["text"]), model(Batch(text=values))["text"].detach()
    )
    assert found.targets.tolist() == torch.cat([d.targets for d in data])[[3, 2, 0, 4, 1]].tolist()
    assert not model.training


def test_hiding_a_modality_masks_it_and_nothing_else():
    batch = Batch(
        speech=torch.ones(2, 128, 32),
        speech_frames=torch.tensor([32, 20]),
        speech_present=torch.tensor([True, True]),
        face=torch.ones(2, 3, 512),
        face_mask=torch.ones(2, 3, dtype=torch.bool),
        text=torch.ones(2, 1, WIDTH),
        text_mask=torch.ones(2, 1, dtype=torch.bool),
    )
    silent = hide(batch, "speech")
    assert not silent.speech.any()
    assert not silent.speech_present.any()
    assert torch.equal(silent.speech_frames, batch.speech_frames)
    assert not hide(batch, "face").face_mask.any()
    assert not hide(batch, "text").text_mask.any()
    assert hide(batch, "text").face_mask.all()
    assert hide(batch, "") is batch


# -- memory ---------------------------------------------------------------------------------------


def test_micro_batch_is_a_number_or_what_fits(monkeypatch):
    model, data = Linear(), labelled(4)
    assert micro_batch_size("3", model, data.inputs, 8) == 3
    assert micro_batch_size("30", model, data.inputs, 8) == 8
    need = bytes_per_clip(model, data.inputs)
    assert need >= WIDTH * 4
    monkeypatch.setattr("src.training.memory.free_memory", lambda device: 6 * 1.5 * need / 0.5)
    assert micro_batch_size("auto", model, data.inputs, 8) == 4  # two equal parts
    monkeypatch.setattr("src.training.memory.free_memory", lambda device: 0)
    assert micro_batch_size("auto", model, data.inputs, 8) == 1
    for wrong in ("0", "-1", "some"):
        with pytest.raises(UserError, match="--micro_batch"):
            micro_batch_size(wrong, model, data.inputs, 8)


def test_measuring_memory_changes_nothing():
    model, batches = Normed(), word_batches([4])
    model.train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    bytes_per_clip(model, batches[0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
