"""Which clips form a batch."""

from collections import Counter

import pytest

from emotion.data.sampling import EvalBatches, TrainBatches


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_covers_every_clip_once_in_groups_of_equal_length(world_size):
    lengths = [32, 64, 32, 96, 64, 32, 32, 96, 32, 64, 32]
    seen = Counter()
    for rank in range(world_size):
        batches = EvalBatches(lengths, 3, rank, world_size)
        assert len(batches) == len(list(batches))
        for batch in batches:
            assert 1 <= len(batch) <= 3
            assert len({lengths[index] for _, index in batch}) == 1
            seen.update(index for _, index in batch)
    assert seen == Counter(range(len(lengths)))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_training_batches_are_whole_and_ranks_disjoint(world_size):
    count, size = 26, 4
    per_rank = []
    for rank in range(world_size):
        sampler = TrainBatches(count, size, seed=0, rank=rank, world_size=world_size)
        batches = list(sampler)
        assert len(batches) == len(sampler) == count // (size * world_size)
        assert all(len(batch) == size for batch in batches)
        per_rank.append([index for batch in batches for _, index in batch])
    everything = [index for indices in per_rank for index in indices]
    assert len(everything) == len(set(everything))


def test_training_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = TrainBatches(20, 5, seed)
        sampler.epoch = epoch
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert all(epoch == 1 for batch in order(0, 1) for epoch, _ in batch)


def test_two_ranks_step_on_the_clips_of_one_rank_with_the_doubled_batch():
    alone = list(TrainBatches(20, 6, seed=0))
    ranks = [list(TrainBatches(20, 3, seed=0, rank=rank, world_size=2)) for rank in range(2)]
    for step, batch in enumerate(alone):
        assert sorted(batch) == sorted(ranks[0][step] + ranks[1][step])


def test_the_last_batch_is_kept_when_it_is_the_only_one():
    assert [len(batch) for batch in TrainBatches(5, 32, seed=0)] == [5]
    shared = [list(TrainBatches(5, 32, seed=0, rank=rank, world_size=2)) for rank in range(2)]
    assert sorted(index for batches in shared for _, index in batches[0]) == [0, 1, 2, 3, 4]


def test_fewer_clips_than_ranks_leave_no_rank_idle():
    ranks = [list(TrainBatches(2, 4, seed=0, rank=rank, world_size=3)) for rank in range(3)]
    assert all(len(batches) == 1 and len(batches[0]) == 1 for batches in ranks)
