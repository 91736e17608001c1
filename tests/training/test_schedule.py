"""Optimizer and learning rates, against their formulas."""

import math

import pytest
from torch import nn

from emotion.training.loop import train_one_epoch
from emotion.training.schedule import WARMUP_START, build_optimizer, build_schedule
from tests.training.engine import DECAY, RATE, Linear, engine_of, labelled


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
    engine = engine_of(Linear(), micro_batch=1)
    train_one_epoch(engine, [labelled(2, seed) for seed in range(5)], 5, 0)
    assert engine.schedule.last_epoch == 5
