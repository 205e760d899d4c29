import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_ray.jobs.chunk_run import cpus_per_actor

CLUSTERS = st.lists(st.integers(0, 64), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("nodes", "num_actors", "share"),
    [
        ([2], 1, 1.6),
        ([2], 2, 0.8),
        ([8, 8], 2, 7.6),
        ([8, 8], 3, 3.8),
        ([8, 8, 1], 2, 7.6),
        ([0, 4], 1, 3.6),
        ([1], 1000, 0),
    ],
)
def test_actors_share_the_cpus_that_reading_leaves(nodes, num_actors, share):
    assert cpus_per_actor(nodes, num_actors, 0.4) == share


@given(CLUSTERS, st.integers(1, 40))
def test_all_actors_fit_beside_a_reader_on_every_node(nodes, num_actors):
    share = cpus_per_actor(nodes, num_actors, 0.4)
    if share > 0:
        fitting = sum(int((cpus - 0.4) / share + 1e-9) for cpus in nodes if cpus > 0)
        assert fitting >= num_actors
