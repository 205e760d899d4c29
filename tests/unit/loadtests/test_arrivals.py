"""Open-loop arrivals: their law, their number, and how processes share them."""

import numpy as np
import pytest
from scipy import stats

from loadtests.arrivals import intended_times


def poisson(rate, seconds, *, processes=1, seed="s"):
    parts = [
        intended_times("poisson", rate, seconds, seed=f"{seed}/{i}", share=(i, processes))
        for i in range(processes)
    ]
    return np.sort(np.concatenate(parts))


@pytest.mark.parametrize("processes", [1, 3])
def test_gaps_between_poisson_arrivals_are_exponential_with_the_mean_of_the_rate(processes):
    gaps = np.diff(poisson(50, 200, processes=processes))
    assert stats.kstest(gaps, "expon", args=(0, 1 / 50)).pvalue > 0.01


def test_constant_arrivals_fail_the_same_test_of_exponential_gaps():
    gaps = np.diff(intended_times("constant", 50, 200, seed="s"))
    assert stats.kstest(gaps, "expon", args=(0, 1 / 50)).pvalue < 1e-6


def test_counts_a_second_vary_as_much_as_their_mean():
    counts = np.histogram(poisson(50, 400, processes=2), bins=400, range=(0, 400))[0]
    # Index of dispersion of a Poisson process: (n - 1) * variance / mean is chi-squared.
    index = (len(counts) - 1) * counts.var(ddof=1) / counts.mean()
    assert 0.005 < stats.chi2.cdf(index, len(counts) - 1) < 0.995


def test_gaps_do_not_depend_on_the_gap_before():
    gaps = np.diff(poisson(50, 200))
    assert abs(stats.spearmanr(gaps[:-1], gaps[1:]).statistic) < 3 / np.sqrt(len(gaps))


def test_constant_arrivals_of_processes_interleave_to_the_whole_rate():
    parts = [intended_times("constant", 20, 2, seed="s", share=(i, 3)) for i in range(3)]
    np.testing.assert_allclose(np.sort(np.concatenate(parts)), np.arange(40) / 20)


def test_the_same_seed_gives_the_same_arrivals_and_another_seed_others():
    np.testing.assert_array_equal(poisson(20, 5), poisson(20, 5))
    assert not np.array_equal(poisson(20, 5)[:10], poisson(20, 5, seed="t")[:10])


def test_a_rate_of_zero_sends_nothing():
    assert len(intended_times("poisson", 0, 5, seed="s")) == 0
