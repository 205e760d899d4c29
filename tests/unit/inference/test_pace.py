import math

import pytest

from ernie_ray.inference.pace import Pace


def test_before_the_first_batch_any_number_of_tokens_fits():
    assert Pace().tokens_in(0.1) == math.inf


def test_the_first_batch_sets_the_pace_and_later_ones_move_it():
    pace = Pace()
    pace.add(100, 0.1)
    assert pace.tokens_in(0.5) == pytest.approx(500)
    pace.add(300, 0.1)
    assert 1000 < pace.tokens_per_s < 2000
    for _ in range(50):
        pace.add(300, 0.1)
    assert pace.tokens_per_s == pytest.approx(3000, rel=0.01)


def test_a_batch_that_took_no_time_divides_by_nothing():
    pace = Pace()
    pace.add(1, 0.0)
    assert math.isfinite(pace.tokens_per_s)
