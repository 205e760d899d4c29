from hypothesis import given
from hypothesis import strategies as st

from ernie_ray.inference.grouping import (
    BatchLimits,
    allowed_padding,
    batches_by_length,
    choose_batch,
)

LIMITS = BatchLimits(max_batch_tokens=64, max_overtakes=3, window_texts=32)
LENGTHS = st.lists(st.integers(1, 64), min_size=1, max_size=60)


def test_texts_of_like_length_share_a_batch():
    assert choose_batch([8, 60, 8, 7, 60], [0] * 5, LIMITS) == [0, 2, 3]


def test_texts_join_while_their_padding_costs_less_than_another_batch():
    limits = LIMITS.model_copy(update={"free_padding_tokens": 6, "max_padding_share": 0.0})
    assert choose_batch([10, 7, 6, 9], [0] * 4, limits) == [0, 1, 3]


def test_a_smaller_budget_bounds_this_batch_but_never_the_oldest_text():
    assert choose_batch([8] * 6, [0] * 6, LIMITS, budget=24) == [0, 1, 2]
    assert choose_batch([8] * 6, [3] + [0] * 5, LIMITS, budget=24) == [0, 1, 2]
    assert choose_batch([40, 8], [0] * 2, LIMITS, budget=24) == [0]


def test_older_texts_go_first_among_equals():
    assert choose_batch([16] * 6, [0] * 6, LIMITS) == [0, 1, 2, 3]


def test_a_text_overtaken_to_the_limit_ends_the_grouping():
    assert choose_batch([8, 60, 8], [0, 3, 0], LIMITS) == [0]
    assert choose_batch([60, 8], [3, 0], LIMITS) == [0]
    assert choose_batch([8, 10, 9, 40], [3, 3, 0, 0], LIMITS) == [0, 1, 2]


@given(LENGTHS)
def test_a_batch_holds_the_oldest_text_and_keeps_the_budget(lengths):
    chosen = choose_batch(lengths, [0] * len(lengths), LIMITS)
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
    assert max(lengths[i] for i in chosen) * len(chosen) <= LIMITS.max_batch_tokens


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(0, 4)), min_size=1, max_size=80))
def test_no_text_is_overtaken_by_more_batches_than_the_limit(arrivals):
    """Texts arrive in bursts while batches leave; count who was passed over by someone younger."""
    waiting: list[int] = []  # numbers of arrival, oldest first
    lengths = [length for length, _ in arrivals]
    overtaken = [0] * len(arrivals)
    left: list[int] = []
    pending = list(range(len(arrivals)))
    while pending or waiting:
        num_arrived = arrivals[pending[0]][1] if pending else 0
        for _ in range(max(num_arrived, 0 if waiting else 1)):
            if pending:
                waiting.append(pending.pop(0))
        window = waiting[: LIMITS.window_texts]
        chosen = choose_batch([lengths[i] for i in window], [overtaken[i] for i in window], LIMITS)
        batch = [window[i] for i in chosen]
        waiting = [i for i in waiting if i not in batch]
        for i in waiting:
            overtaken[i] += i < max(batch)
        left += batch
    assert sorted(left) == list(range(len(arrivals)))
    assert max(overtaken) <= LIMITS.max_overtakes


def test_texts_that_are_all_there_are_cut_where_padding_would_pass_its_bound():
    limits = LIMITS.model_copy(update={"free_padding_tokens": 6, "max_padding_share": 0.0})
    assert list(batches_by_length([40, 5, 6, 8, 4], limits)) == [[4, 1, 2], [3], [0]]


@given(LENGTHS, st.integers(1, 200), st.integers(0, 40))
def test_batches_by_length_hold_each_text_once_within_budget_and_padding(lengths, budget, free):
    limits = LIMITS.model_copy(update={"max_batch_tokens": budget, "free_padding_tokens": free})
    batches = list(batches_by_length(lengths, limits))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        chosen = [lengths[i] for i in batch]
        padded = max(chosen) * len(chosen)
        assert len(batch) == 1 or padded <= budget
        assert padded - sum(chosen) <= allowed_padding(padded, limits)
