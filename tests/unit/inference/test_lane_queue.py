from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.inference.lane_queue import Entry, Lane, LaneQueue

LIMITS = BatchLimits(max_batch_tokens=64, max_overtakes=3, window_texts=16, bulk_delay_s=5.0)


def entry(num_tokens, lane=Lane.INTERACTIVE):
    return Entry(None, 0, num_tokens, lane)


def test_interactive_texts_pass_bulk_ones():
    queue = LaneQueue(LIMITS)
    bulk, interactive = entry(60, Lane.BULK), entry(60)
    queue.push([bulk], 0.0)
    queue.push([interactive], 1.0)
    assert queue.take_batch() == [interactive]
    assert queue.take_batch() == [bulk]


def test_a_bulk_text_that_has_aged_is_passed_no_more():
    queue = LaneQueue(LIMITS)
    bulk, interactive = entry(60, Lane.BULK), entry(60)
    queue.push([bulk], 0.0)
    queue.push([interactive], 5.1)
    assert queue.take_batch() == [bulk]


def test_both_lanes_share_a_batch_when_there_is_room():
    queue = LaneQueue(LIMITS)
    bulk, interactive = entry(8, Lane.BULK), entry(8)
    queue.push([bulk], 0.0)
    queue.push([interactive], 1.0)
    assert queue.take_batch() == [interactive, bulk]


def test_a_text_that_left_is_neither_counted_nor_taken():
    queue = LaneQueue(LIMITS)
    first, second = entry(8), entry(9)
    queue.push([first, second], 0.0)
    queue.discard(first)
    queue.discard(first)
    assert (queue.num_tokens, len(queue)) == (9, 1)
    assert queue.take_batch() == [second]
    assert queue.take_batch() == []


@dataclass
class Arrival:
    num_tokens: int
    lane: Lane
    gap_s: float
    leaves: bool


ARRIVALS = st.lists(
    st.builds(
        Arrival,
        st.integers(1, 64),
        st.sampled_from(Lane),
        st.sampled_from([0.0, 0.1, 1.0, 7.0]),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


@given(ARRIVALS, st.integers(1, 5))
def test_every_text_leaves_once_within_budget_and_bounds(arrivals, num_per_batch):
    """Texts come, some leave again, and after every few arrivals a batch is cut."""
    queue = LaneQueue(LIMITS)
    now_s = 0.0
    came, gone, taken = [], set(), []
    for i, arrival in enumerate(arrivals):
        now_s += arrival.gap_s
        new = entry(arrival.num_tokens, arrival.lane)
        came.append(new)
        queue.push([new], now_s)
        if arrival.leaves and new.num_tokens % 2:
            queue.discard(new)
            gone.add(new)
        if i % num_per_batch == 0:
            taken.append(queue.take_batch())
    while queue:
        taken.append(queue.take_batch())
    assert queue.num_tokens == 0
    flat = [one for batch in taken for one in batch]
    assert len(flat) == len(set(flat))
    assert set(flat) == set(came) - gone
    for batch in filter(None, taken):
        assert max(one.num_tokens for one in batch) * len(batch) <= LIMITS.max_batch_tokens
    order = {one: i for i, one in enumerate(came)}
    place = {one: i for i, batch in enumerate(taken) for one in batch}
    for one in flat:
        # What went before it: lower rank, or one of a few batches with texts of higher rank.
        overtaking = {
            place[other]
            for other in flat
            if place[other] < place[one] and order[other] > order[one] and other.rank_s > one.rank_s
        }
        assert len(overtaking) <= LIMITS.max_overtakes
