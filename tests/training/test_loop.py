"""The engine, against numbers worked out by hand on models small enough for that."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from emotion.data.dataset import Labelled
from emotion.data.mixing import Mixture, mix_inside
from emotion.errors import UserError
from emotion.models.evaluate import each_tensor
from emotion.networks.attention import AttentionPooling, Head
from emotion.networks.model import build_model
from emotion.training import loop
from emotion.training.loop import (
    LOOK_EVERY,
    Augmentation,
    accumulate_gradient,
    augment,
    train_one_epoch,
    update_weights,
)
from emotion.training.losses import EmotionLoss
from emotion.training.schedule import MOMENTUM
from tests.model_batches import feature_batch, with_stream
from tests.recipes import recipe_of
from tests.training.engine import (
    CLASSES,
    DECAY,
    RATE,
    WIDTH,
    Linear,
    by_hand,
    engine_of,
    gradient,
    labelled,
    numbers,
    of_words,
    words_of,
)

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


class LinearHead(nn.Module):
    """A real head over the words of each clip, its classifier and pooling drawn once."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleDict(
            {"text": Head(AttentionPooling(WIDTH, 4), WIDTH, CLASSES, dropout=0.0)}
        )

    def pooled(self, batch):
        return self.layers["text"].pooling(batch.streams["text"])

    def forward(self, batch):
        return {"text": self.layers["text"](batch.streams["text"], batch)}


@pytest.mark.parametrize("micro_batch", [4, 5, 100])
@pytest.mark.parametrize("replicas", [1, 2])
def test_mixup_trains_on_both_clips_and_both_labels_of_a_part(micro_batch, replicas):
    """By hand: in each part of a batch the pooled vectors are mixed, and the labels alike."""
    model, data = LinearHead(), labelled(7)
    engine = engine_of(model, augmentation=Augmentation(mixup_alpha=0.5), micro_batch=micro_batch)
    if replicas > 1:
        engine.parallel = Replicas(model, replicas)
    inputs, soft = augment(engine, data, torch.Generator().manual_seed(1))
    loss = accumulate_gradient(engine, inputs, soft)
    weight = float(inputs.mix_weight[0])
    partner = torch.arange(7) + inputs.mix_offset
    assert (inputs.mix_offset != 0).any()
    one_hot = torch.eye(CLASSES)[data.targets[:, 0]]
    wanted = weight * one_hot + (1 - weight) * one_hot[partner]
    torch.testing.assert_close(soft[0], wanted)
    pooled = model.pooled(data.inputs)
    mixed = weight * pooled + (1 - weight) * pooled[partner]
    log_share = model.layers["text"].classifier(mixed).log_softmax(1)
    torch.testing.assert_close(loss, -(wanted * log_share).sum(1).mean().detach())


class Replicas(nn.DataParallel):
    """DataParallel's own way of cutting a batch (``Tensor.chunk`` of every part) on one device."""

    def __init__(self, module, count):
        nn.Module.__init__(self)
        self.module = module
        self.device_ids = list(range(count))

    def forward(self, batch):
        cut = len(batch.streams["text"].mask.chunk(len(self.device_ids)))
        shares = [
            each_tensor(batch, lambda v, n=n: v.chunk(len(self.device_ids))[n]) for n in range(cut)
        ]
        return {"text": torch.cat([self.module(share)["text"] for share in shares])}


def test_the_longer_of_two_clips_counts_by_its_share_of_the_label():
    """3 words at 0.95 with 12: mixed as inputs, the minority's tail took 76 % of the attention."""
    torch.manual_seed(0)
    model = build_model(recipe_of("text", CLASSES, text_dim=20, hidden=8)).eval()
    batch = feature_batch(n_clips=2, words=12)
    batch = with_stream(batch, "text", mask=torch.arange(12) < torch.tensor([[3], [12]]))
    pooled = model.head.pooling(model.encode(batch))
    mixed = mix_inside(batch, Mixture(0.95, torch.tensor([1, 0])))
    logits = model(mixed)["text"]
    wanted = model.head.classifier(0.95 * pooled[0] + 0.05 * pooled[1])
    torch.testing.assert_close(logits[0], wanted)
    attention = model.attention(mixed)["text"].weights
    assert not attention[0, 3:].any()


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
        of_words(words_of(data)[[0, 2]]), data.targets[[0, 2]], [data.ids[0], data.ids[2]]
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
    words_of(batches[bad_step])[0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=rf"nan in epoch 4, step {bad_step}, clips b{bad_step}c0 b"):
        train_one_epoch(engine_of(Linear()), batches, len(batches), 4)


# -- mixed precision ------------------------------------------------------------------------------


def test_a_scaler_changes_nothing_and_steps_once():
    """Scaling by a power of two is exact: so unscaling comes before clipping."""
    batches = [labelled(6, seed) for seed in range(3)]
    plain, scaled = Linear(), Linear()
    train_one_epoch(engine_of(plain, clip_norm=0.1), batches, 3, 0)
    engine = engine_of(scaled, clip_norm=0.1, scaler=torch.amp.GradScaler("cpu"))
    steps = count_steps(engine)
    train_one_epoch(engine, batches, 3, 0)
    assert len(steps) == 3
    for found, wanted in zip(numbers(scaled), numbers(plain), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_scaler_leaves_out_a_step_that_overflows_and_lowers_its_scale():
    model, data = Linear(), labelled(6)
    words_of(data).mul_(100)
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


# -- memory that does not suffice -----------------------------------------------------------------


def short_of_memory(monkeypatch, most):
    """More than ``most`` clips at once do not fit."""
    real = loop.accumulate_gradient

    def limited(engine, inputs, soft, *rest):
        if min(engine.micro_batch, soft.shape[1]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(engine, inputs, soft, *rest)

    monkeypatch.setattr(loop, "accumulate_gradient", limited)


def test_out_of_memory_becomes_a_smaller_micro_batch(monkeypatch, capsys):
    """The run ends as one that was given the smaller number from the start, with its partners."""
    mixed = Augmentation(mixup_alpha=0.5)
    models = [Linear(), Linear()]
    given = engine_of(models[0], augmentation=mixed, micro_batch=2)
    found = engine_of(models[1], augmentation=mixed)
    batches = [labelled(8, seed) for seed in range(3)]
    wanted = train_one_epoch(given, batches, 3, 0)
    short_of_memory(monkeypatch, most=3)
    assert train_one_epoch(found, batches, 3, 0) == wanted
    assert found.micro_batch == 2
    for first, second in zip(numbers(models[0]), numbers(models[1]), strict=True):
        np.testing.assert_array_equal(first, second)
    lines = [line for line in capsys.readouterr().err.splitlines() if "note:" in line]
    assert "8 clips do not fit at once; each step runs 4 at a time (--micro_batch)" in lines[0]
    assert "4 clips do not fit at once; each step runs 2 at a time (--micro_batch)" in lines[1]


def test_a_single_clip_that_does_not_fit_ends_the_run(monkeypatch):
    short_of_memory(monkeypatch, most=0)
    with pytest.raises(torch.OutOfMemoryError):
        train_one_epoch(engine_of(Linear()), [labelled(4)], 1, 0)
