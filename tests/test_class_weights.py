"""Weights of clips by how rare their class is."""

import pytest
import torch
from torch import nn

from emotion.command_line import parse
from emotion.data.examples import Example
from emotion.training.losses import EmotionLoss, class_weights
from emotion.training.options import TrainOptions

LABELS = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]
TARGETS = {"text": "integrated"}


def examples(labels):
    return [Example("train", None, label, -1, -1) for label in labels]


def loss_of(choice, labels=LABELS, smoothing=0.0):
    weights = class_weights(choice, TARGETS, examples(labels), 3)
    return EmotionLoss(TARGETS, {"text": 1.0}, smoothing, weights)


def targets_of(labels):
    return torch.tensor([[label, -1, -1] for label in labels])


def test_balanced_weights_give_every_class_the_same_share():
    weights = class_weights("balanced", TARGETS, examples(LABELS), 3)["text"]
    shares = weights * torch.bincount(torch.tensor(LABELS))
    torch.testing.assert_close(shares, torch.full((3,), 10 / 3))


def test_sqrt_is_the_root_of_balanced():
    full, half = (
        class_weights(choice, TARGETS, examples(LABELS), 3)["text"]
        for choice in ("balanced", "sqrt")
    )
    torch.testing.assert_close(half**2, full)


def test_no_weights_are_the_default():
    assert parse(TrainOptions, "", ["--mode", "text"]).class_weights == "none"
    assert class_weights("none", TARGETS, examples(LABELS), 3) == {}


def test_each_head_counts_its_own_labels_and_leaves_out_clips_without_one():
    heads = {"integrated": "integrated", "face": "face"}
    clips = [Example("train", None, 0, 1, -1), Example("train", None, 0, -1, -1)]
    weights = class_weights("balanced", heads, clips, 2)
    assert weights["integrated"][0] == 0.5
    assert weights["face"][1] == 0.5


def test_a_class_that_does_not_occur_makes_no_infinite_weight():
    weights = class_weights("balanced", TARGETS, examples([0, 0, 1]), 3)["text"]
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize("choice", ["none", "sqrt", "balanced"])
def test_the_loss_is_torchs_with_the_same_weights(choice):
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    loss = loss_of(choice)
    soft = loss.soft_labels(targets_of(LABELS), 3)
    weights = loss.class_weights.get("text")
    wanted = nn.CrossEntropyLoss(weight=weights)(logits, torch.tensor(LABELS))
    torch.testing.assert_close(loss({"text": logits}, soft, soft.sum((1, 2))), wanted)


def test_a_mixed_clip_has_the_mixed_weight():
    loss = loss_of("balanced")
    soft = loss.soft_labels(targets_of([0, 2]), 3)[0]
    mixed = 0.25 * soft[0] + 0.75 * soft[1]
    weights = loss.class_weights["text"]
    torch.testing.assert_close(mixed.sum(), 0.25 * weights[0] + 0.75 * weights[2])


def test_parts_of_a_batch_still_add_up_to_the_whole():
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    loss = loss_of("balanced", smoothing=0.1)
    soft = loss.soft_labels(targets_of(LABELS), 3)
    totals = soft.sum((1, 2))
    parts = [loss({"text": logits[a:b]}, soft[:, a:b], totals) for a, b in ((0, 7), (7, 10))]
    torch.testing.assert_close(sum(parts), loss({"text": logits}, soft, totals))


def test_unlabelled_clips_still_weigh_nothing():
    soft = loss_of("balanced").soft_labels(targets_of([-1, 1]), 3)
    assert soft[0, 0].sum() == 0
