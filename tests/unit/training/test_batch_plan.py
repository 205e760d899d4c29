import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_ray.training.batch_plan import BatchPlan, EpochRows, micro_batches

LENGTHS = st.lists(st.integers(1, 512), min_size=1, max_size=300).map(
    lambda values: np.array(values, dtype=np.int32)
)
SIZES = st.integers(1, 40)
SEEDS = st.integers(0, 2**31)


def padded_tokens(plan, lengths, epoch=0):
    batches = [plan.global_batch(epoch, step) for step in range(plan.num_steps(epoch))]
    return sum(len(batch) * int(lengths[batch].max()) for batch in batches)


@given(LENGTHS, SIZES, SEEDS, st.integers(0, 5))
def test_every_row_comes_exactly_once_an_epoch(lengths, size, seed, epoch):
    plan = BatchPlan(lengths, size, seed)
    batches = [plan.global_batch(epoch, step) for step in range(plan.num_steps(epoch))]
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))


@given(LENGTHS, SIZES, SEEDS)
def test_only_the_last_batch_is_smaller(lengths, size, seed):
    plan = BatchPlan(lengths, size, seed)
    sizes = [len(plan.global_batch(0, step)) for step in range(plan.num_steps(0))]
    assert sizes[:-1] == [size] * (len(sizes) - 1)
    assert 1 <= sizes[-1] <= size


@given(LENGTHS, SIZES, SEEDS, st.integers(1, 7))
def test_shards_make_up_the_same_batch_whatever_the_world_size(lengths, size, seed, world_size):
    plan = BatchPlan(lengths, size, seed)
    for step in range(plan.num_steps(0)):
        shards = [plan.shard(0, step, rank, world_size) for rank in range(world_size)]
        together = np.sort(np.concatenate(shards))
        np.testing.assert_array_equal(together, np.sort(plan.global_batch(0, step)))
        sizes = [len(shard) for shard in shards]
        assert max(sizes) - min(sizes) <= 1


@given(LENGTHS, SIZES, SEEDS)
def test_plan_is_a_function_of_seed_epoch_and_step_alone(lengths, size, seed):
    forward, backward = BatchPlan(lengths, size, seed), BatchPlan(lengths, size, seed)
    steps = [(epoch, step) for epoch in (0, 1) for step in range(forward.num_steps(epoch))]
    one = {key: forward.global_batch(*key).tolist() for key in steps}
    other = {key: backward.global_batch(*key).tolist() for key in reversed(steps)}
    assert one == other


@given(LENGTHS, SIZES, SEEDS, SIZES)
def test_micro_batches_keep_rows_and_order(lengths, size, seed, per_worker_batch_size):
    shard = BatchPlan(lengths, size, seed).shard(0, 0, 0, 2)
    parts = list(micro_batches(shard, per_worker_batch_size))
    assert [row for part in parts for row in part.tolist()] == shard.tolist()
    assert all(1 <= len(part) <= per_worker_batch_size for part in parts)


def test_another_epoch_or_seed_gives_another_order():
    lengths = np.arange(1, 201, dtype=np.int32)
    first = BatchPlan(lengths, 8, seed=1).global_batch(0, 0).tolist()
    assert BatchPlan(lengths, 8, seed=1).global_batch(1, 0).tolist() != first
    assert BatchPlan(lengths, 8, seed=2).global_batch(0, 0).tolist() != first


def test_grouping_by_length_saves_most_of_the_padding():
    lengths = np.random.default_rng(0).integers(1, 128, 20_000).astype(np.int32)
    grouped = padded_tokens(BatchPlan(lengths, 32, seed=0), lengths) - int(lengths.sum())
    in_order = sum(
        len(part) * int(part.max()) for part in np.split(lengths, len(lengths) // 32)
    ) - int(lengths.sum())
    assert grouped < 0.1 * in_order


def test_workers_get_similar_lengths():
    lengths = np.random.default_rng(0).integers(1, 128, 2_000).astype(np.int32)
    plan = BatchPlan(lengths, 32, seed=0)
    for step in range(plan.num_steps(0)):
        tokens = [int(lengths[plan.shard(0, step, rank, 4)].max()) for rank in range(4)]
        assert max(tokens) - min(tokens) <= 8


def test_batches_are_not_ordered_by_length():
    lengths = np.arange(1, 1001, dtype=np.int32)
    plan = BatchPlan(lengths, 10, seed=0)
    means = [float(lengths[plan.global_batch(0, step)].mean()) for step in range(100)]
    assert abs(np.corrcoef(np.arange(100), means)[0, 1]) < 0.3


def test_a_million_rows_are_planned_within_seconds():
    lengths = np.random.default_rng(0).integers(1, 512, 1_000_000).astype(np.int32)
    plan = BatchPlan(lengths, 64, seed=0)
    assert len(plan.global_batch(0, 15_000)) == 64


@pytest.mark.parametrize("step", [-1, 4])
def test_a_step_outside_the_epoch_is_refused(step):
    with pytest.raises(IndexError, match="of 4"):
        BatchPlan(np.ones(10, dtype=np.int32), 3, seed=0).global_batch(0, step)


def test_no_rows_and_no_batch_size_are_refused():
    with pytest.raises(ValueError, match="at least one row"):
        BatchPlan(np.empty(0, dtype=np.int32), 3, seed=0)
    with pytest.raises(ValueError, match="global_batch_size=0"):
        BatchPlan(np.ones(3, dtype=np.int32), 0, seed=0)


def test_the_last_epochs_deal_the_rows_of_their_subset_alone():
    rows = np.array([3, 5, 8, 9, 20])
    plan = BatchPlan(np.arange(1, 31, dtype=np.int32), 4, 0, [EpochRows(2, rows)])
    assert [plan.num_steps(epoch) for epoch in range(4)] == [8, 8, 2, 2]
    dealt = np.concatenate([plan.global_batch(3, step) for step in range(2)])
    assert sorted(dealt.tolist()) == rows.tolist()
    every = np.concatenate([plan.global_batch(1, step) for step in range(8)])
    assert sorted(every.tolist()) == list(range(30))


def test_an_epoch_deals_a_row_as_often_as_it_stands_in_its_rows():
    repeated, last = np.array([0, 1, 2, 3, 4, 2, 2]), np.array([1])
    epochs = [EpochRows(0, repeated), EpochRows(3, last)]
    plan = BatchPlan(np.arange(1, 6, dtype=np.int32), 3, 0, epochs)
    assert [plan.num_steps(epoch) for epoch in range(5)] == [3, 3, 3, 1, 1]
    for epoch in range(3):
        dealt = np.concatenate([plan.global_batch(epoch, step) for step in range(3)])
        assert sorted(dealt.tolist()) == sorted(repeated.tolist())
    assert plan.global_batch(4, 0).tolist() == [1]
