"""Batch norms after an epoch, answers of a whole set, the memory a clip takes."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from emotion.errors import UserError
from emotion.models.evaluate import evaluate, hide
from emotion.records import Batch, Stream
from emotion.training.batch_norm import live_batch_norms, reestimate_batch_norm
from emotion.training.memory import bytes_per_clip, free_memory, micro_batch_size
from tests.model_batches import feature_batch
from tests.training.engine import CPU, WIDTH, Linear, labelled, of_words, words_of

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
        words = batch.streams["text"]
        values = self.dropout(self.frozen(words.values.transpose(1, 2)))
        if not self.by_length:
            return {"text": self.norm(values).mean(2)}
        lengths = words.mask.sum(1)
        return {n: self.norm(values[lengths == n]) for n in lengths.unique().tolist()}


def word_batches(sizes, shift=1.0):
    rng = np.random.default_rng(0)
    batches = []
    for number, size in enumerate(sizes):
        text = rng.standard_normal((size, 8, WIDTH)) * 2 + shift * number
        mask = torch.arange(8) < torch.from_numpy(rng.integers(5, 9, size))[:, None]
        words = torch.from_numpy(text.astype(np.float32))
        batches.append(Batch({"text": Stream(words, mask, torch.full(mask.shape, torch.nan))}))
    return batches


@pytest.mark.parametrize("by_length", [False, True])
def test_batch_norm_gets_the_statistics_of_the_whole_set(by_length):
    batches = word_batches([200, 200, 85])
    model = Normed(by_length)
    model.frozen.requires_grad_(False)
    model.norm.momentum = 0.03
    model.train()
    reestimate_batch_norm(model, batches)
    values = torch.cat([batch.streams["text"].values for batch in batches]).flatten(0, 1)
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
    values = torch.cat([words_of(part) for part in data])[[3, 2, 0, 4, 1]]
    torch.testing.assert_close(
        torch.from_numpy(found.logits["text"]), model(of_words(values))["text"].detach()
    )
    assert found.targets.tolist() == torch.cat([d.targets for d in data])[[3, 2, 0, 4, 1]].tolist()
    assert not model.training


def test_hiding_a_modality_masks_it_and_nothing_else():
    batch = feature_batch()
    for name in batch.streams:
        hidden = hide(batch, name)
        assert not hidden.streams[name].mask.any()
        assert hidden.clock is batch.clock
        for other, stream in batch.streams.items():
            if other != name:
                assert hidden.streams[other] is stream
    assert hide(batch, "") is batch


# -- memory ---------------------------------------------------------------------------------------


def test_micro_batch_is_a_number_or_what_fits(monkeypatch):
    model, data = Linear(), labelled(4)
    assert micro_batch_size("3", model, data.inputs, 8) == 3
    assert micro_batch_size("30", model, data.inputs, 8) == 8
    need = bytes_per_clip(model, data.inputs)
    assert need >= WIDTH * 4
    monkeypatch.setattr("emotion.training.memory.free_memory", lambda device: 6 * 1.5 * need / 0.5)
    assert micro_batch_size("auto", model, data.inputs, 8) == 4  # two equal parts
    monkeypatch.setattr("emotion.training.memory.free_memory", lambda device: 0)
    assert micro_batch_size("auto", model, data.inputs, 8) == 1
    for wrong in ("0", "-1", "some"):
        with pytest.raises(UserError, match="--micro_batch"):
            micro_batch_size(wrong, model, data.inputs, 8)


@pytest.mark.parametrize(("share", "wanted"), [(1.0, 300 + 200), (0.5, 100 + 200), (0.1, 200)])
def test_free_memory_of_a_gpu_keeps_to_the_share_of_the_process(monkeypatch, share, wanted):
    """1,000 bytes, 300 of them free; 400 held by torch, which uses 200 of those."""
    answers = {"mem_get_info": (300, 1000), "memory_reserved": 400, "memory_allocated": 200}
    answers["get_per_process_memory_fraction"] = share
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, answer=answer: answer)
    assert free_memory(torch.device("cuda", 0)) == wanted


def test_measuring_memory_changes_nothing():
    model, batches = Normed(), word_batches([4])
    model.train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    bytes_per_clip(model, batches[0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
