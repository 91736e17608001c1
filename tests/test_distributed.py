"""Two processes on gloo against one: the same scores, the same step, and a run that works.

This file is also what each of the two processes runs, as a module; they are started once.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from emotion import distributed
from emotion.models.checkpoint import best_checkpoint
from emotion.paths import HOME
from emotion.records import Batch, Clock, Stream
from emotion.training.loop import accumulate_gradient, augment, train_one_epoch
from emotion.training.options import TrainOptions
from emotion.training.run import build_engine, train, validation_model
from emotion.training.scoring import predict, validation_row
from emotion.training.setup import Loaders, build_initial_model, build_task
from tests.features import make_features
from tests.slim import slim

CPU = torch.device("cpu")
RANKS = 2
STEPS = 20


def options_of(folder, **flags):
    return TrainOptions(
        mode="multimodal",
        features_dir=str(folder / "features"),
        logs_dir=str(folder / "logs"),
        num_workers=0,
        pretrained="false",
        warmup=0.0,
        **flags,
    )


# -- what is done by one process and by each of two -----------------------------------------------


def validate(folder):
    """Scores of an untrained model on 7 clips, its batch norms estimated anew."""
    options = options_of(folder, batch_size=2)
    task = build_task(options)
    loaders = Loaders(task, options, CPU)
    engine = build_engine(options, task, build_initial_model(options, task), loaders, CPU)
    model = validation_model(engine, loaders)
    predictions = predict(model, loaders.val, task.parts.val, CPU, None)
    return {"row": validation_row(task, predictions), "logits": predictions.logits}


def step(folder, batch_size):
    """An epoch of five batches, two a step, with frozen batch norms and without any dropout."""
    engine, loaders = engine_without_chance(
        folder,
        batch_size=batch_size,
        micro_batch="2",
        optim="sgd",
        learning_rate=0.1,
        mixup_alpha=0.0,
        n_epoch=3,
    )
    model = engine.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loss = train_one_epoch(engine, loaders.train, len(loaders.train_batches), 0)
    return {"loss": loss, "before": before, "after": model.state_dict()}


def engine_without_chance(folder, **flags):
    """A multitask engine, its batch norms frozen and nothing dropped, and its loaders."""
    options = options_of(folder, freeze_backbone=True, **flags)
    task = build_task(options)
    model = build_initial_model(options, task)
    model.modality_dropout = 0.0
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    loaders = Loaders(task, options, CPU)
    engine = build_engine(options, task, model, loaders, CPU)
    engine.augmentation.parts = ()  # no SpecAugment
    return engine, loaders


def mixed_gradient(folder):
    """One batch with mixup: what the model was given, and the gradients it led to."""
    engine, loaders = engine_without_chance(folder, batch_size=6, micro_batch="3", mixup_alpha=2.0)
    labelled = next(iter(loaders.train))
    generator = torch.Generator().manual_seed(10 + distributed.rank())
    inputs, soft = augment(engine, labelled, generator)
    engine.parallel.train()
    accumulate_gradient(engine, inputs, soft)
    return {"inputs": stored(inputs), "soft": soft, "gradients": gradients_of(engine.model)}


def stored(batch):
    """A batch as plain values."""
    return {n: tuple(stream) for n, stream in batch.streams.items()}, tuple(batch.clock), *batch[2:]


def restored(values):
    """A batch that was ``stored``."""
    streams, clock, *mixing = values
    return Batch({n: Stream(*stream) for n, stream in streams.items()}, Clock(*clock), *mixing)


def gradients_of(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def work(folder):
    """What each rank does; results go to a file of its own."""
    torch.set_num_threads(1)  # another number sums in another order
    slim(pytest.MonkeyPatch())
    with distributed.process_group(CPU):
        assert distributed.world_size() == RANKS
        results = {"validate": validate(folder), "step": step(folder, batch_size=2)}
        results["mixed"] = mixed_gradient(folder)
        results["gathered"] = distributed.gather(f"rank {distributed.rank()}")
        rank = distributed.rank()
    os.environ["MASTER_PORT"] = os.environ["SECOND_PORT"]
    train(options_of(folder, n_epoch=1, batch_size=1, lam=0.0))
    torch.save(results, folder / f"rank{rank}.pth")


if __name__ == "__main__":
    work(Path(sys.argv[1]))


# -- two processes, once --------------------------------------------------------------------------


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def start(folder, rank, ports):
    environment = os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(RANKS),
        "LOCAL_WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": ports[0],
        "SECOND_PORT": ports[1],
        "GLOO_SOCKET_IFNAME": "lo",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.test_distributed", str(folder)],
        cwd=HOME,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module", autouse=True)
def slim_speech():
    """As in the processes."""
    with pytest.MonkeyPatch.context() as patch:
        slim(patch)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Features of an odd number of validation clips; labels and modalities are missing here and
    there, so that the ranks' shares of a batch weigh unequally.
    """
    folder = tmp_path_factory.mktemp("ranks")
    make_features(
        folder / "features",
        clips={"train": RANKS * STEPS, "val": 7},
        frames=(20, 60),
        absent={"speech": {1, 5}, "video": {2}, "embedding": {2}, "text": {3, 5}},
        unlabelled={"face": {0, 2, 3, 7, 8, 11}, "speech": {4}},
    )
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    """What the two processes found, and what they printed."""
    ports = [free_port(), free_port()]
    processes = [start(folder, rank, ports) for rank in range(RANKS)]
    try:
        printed = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, err) in zip(processes, printed, strict=True):
        assert process.returncode == 0, err
    results = [torch.load(folder / f"rank{rank}.pth", weights_only=False) for rank in range(RANKS)]
    return results, printed


def test_processes_gather_in_rank_order(ranks):
    for result in ranks[0]:
        assert result["gathered"] == ["rank 0", "rank 1"]


def test_one_and_two_processes_report_the_same_scores(folder, ranks):
    alone = validate(folder)
    for result in ranks[0]:
        assert result["validate"]["row"] == pytest.approx(alone["row"], abs=1e-6, nan_ok=True)
        for head, logits in alone["logits"].items():
            assert result["validate"]["logits"][head] == pytest.approx(logits, abs=1e-5)
            assert len(logits) == 7


def test_a_step_of_two_processes_is_that_of_one_with_the_doubled_batch(folder, ranks):
    alone = step(folder, batch_size=4)
    moved = 0.0
    for result in ranks[0]:
        assert result["step"]["loss"] == pytest.approx(alone["loss"], abs=1e-6)
        for name, value in alone["after"].items():
            before = alone["before"][name]
            assert torch.equal(result["step"]["before"][name], before), name
            moved = max(moved, float((value - before).float().abs().max()))
            torch.testing.assert_close(
                result["step"]["after"][name], value, rtol=1e-5, atol=1e-6, msg=name
            )
    assert moved > 1e-3


def test_partners_of_two_processes_stay_inside_each_ones_parts(folder, ranks):
    """Both ranks' batches side by side, in one process: the mixed gradient is the same."""
    mixed = [result["mixed"] for result in ranks[0]]
    shares = [restored(one["inputs"]) for one in mixed]
    for share in shares:
        partner = torch.arange(6) + share.mix_offset
        assert (partner // 3 == torch.arange(6) // 3).all()  # micro-batches of three
        assert (share.mix_offset != 0).any()
    assert not torch.equal(shares[0].mix_weight, shares[1].mix_weight)
    engine, _ = engine_without_chance(folder, batch_size=12, micro_batch="12", mixup_alpha=2.0)
    engine.parallel.train()
    joined = joined_batch(shares)
    accumulate_gradient(engine, joined, torch.cat([one["soft"] for one in mixed], dim=1))
    for name, gradient in gradients_of(engine.model).items():
        for one in mixed:
            torch.testing.assert_close(one["gradients"][name], gradient, rtol=1e-4, atol=1e-6)


def joined_batch(shares):
    """Batches one below the other, padded with zeros to the longest of each axis."""

    def joined(batches):
        return [below(parts) for parts in zip(*batches, strict=True)]

    def below(parts):
        longest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
        rows = parts[0].new_zeros(sum(map(len, parts)), *longest)
        for first, part in zip((0, len(parts[0])), parts, strict=True):
            rows[(slice(first, first + len(part)), *map(slice, part.shape[1:]))] = part
        return rows

    streams = {n: Stream(*joined([b.streams[n] for b in shares])) for n in shares[0].streams}
    clock = Clock(*joined([batch.clock for batch in shares]))
    return Batch(streams, clock, *joined([batch[2:] for batch in shares]))


def test_a_run_of_20_steps_at_lam_0_leaves_one_run_and_one_set_of_lines(folder, ranks):
    main, other = (out for out, _ in ranks[1])
    assert other == ""
    start_line, epoch, done = main.splitlines()
    assert start_line.startswith("Start ")
    assert epoch.startswith("Epoch [0]/[1]")
    assert done.startswith("Done ")
    run = folder / "logs" / "multimodal" / "default"
    state = torch.load(run / "last.pth", weights_only=True)["training"]
    steps = {int(moments["step"]) for moments in state["optimizer"]["state"].values()}
    assert steps == {STEPS}
    assert not any(name.startswith("module.") for name in torch.load(best_checkpoint(run))["model"])
    config = json.loads((run / "config.json").read_text())
    assert config["resolved"]["world_size"] == RANKS
    result = json.loads((run / "result.json").read_text())
    assert result["valid"]["clips"] == 7
