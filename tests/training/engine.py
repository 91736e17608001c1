"""An engine around a linear model, small enough to be worked out by hand."""

import numpy as np
import torch
from torch import nn

from emotion.data.dataset import Labelled
from emotion.records import Batch, Stream
from emotion.training.loop import Augmentation, Engine, accumulate_gradient, augment
from emotion.training.losses import EmotionLoss
from emotion.training.schedule import build_optimizer, build_schedule

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
        return {
            name: layer(batch.streams["text"].values[:, 0]) for name, layer in self.layers.items()
        }


def of_words(text):
    """A batch of words (B, W, D), all there, without times."""
    mask = torch.ones(text.shape[:2], dtype=torch.bool)
    return Batch({"text": Stream(text, mask, torch.full(mask.shape, torch.nan))})


def words_of(data):
    """The words of a labelled batch, (B, W, D)."""
    return data.inputs.streams["text"].values


def labelled(size, seed=0, targets=None):
    rng = np.random.default_rng(seed)
    text = torch.from_numpy(rng.standard_normal((size, 1, WIDTH)).astype(np.float32))
    if targets is None:
        targets = rng.integers(0, CLASSES, (size, 3))
    return Labelled(
        of_words(text), torch.as_tensor(targets), [f"b{seed}c{row}" for row in range(size)]
    )


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


def gradient(engine, data):
    """Gradient of one batch's loss, by parameter."""
    engine.optimizer.zero_grad()
    inputs, soft = augment(engine, data, torch.Generator())
    loss = accumulate_gradient(engine, inputs, soft)
    return loss, [parameter.grad.clone() for parameter in engine.model.parameters()]


def by_hand(weight, bias, data, smoothing=0.0):
    """Loss and gradients of mean cross-entropy in float64."""
    values = words_of(data)[:, 0].double().numpy()
    wanted = np.eye(CLASSES)[data.targets[:, 0]] * (1 - smoothing) + smoothing / CLASSES
    logits = values @ weight.T + bias
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = -(wanted * np.log(share)).sum(1).mean()
    apart = (share - wanted) / len(values)
    return loss, apart.T @ values, apart.sum(0)


def numbers(model):
    layer = model.layers["text"]
    return [p.detach().double().numpy().copy() for p in (layer.weight, layer.bias)]
