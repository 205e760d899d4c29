import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_ray.config import ScalingSection
from ernie_ray.jobs.cpu_share import cpu_share, cpus_per_worker

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
    assert cpu_share(nodes, num_actors, 0.4) == share


@given(CLUSTERS, st.integers(1, 40))
def test_all_actors_fit_beside_a_reader_on_every_node(nodes, num_actors):
    share = cpu_share(nodes, num_actors, 0.4)
    if share > 0:
        fitting = sum(int((cpus - 0.4) / share + 1e-9) for cpus in nodes if cpus > 0)
        assert fitting >= num_actors


@pytest.mark.parametrize(
    ("scaling", "nodes", "num_runs", "num_cpus"),
    [
        (ScalingSection(), [16.0], 1, 15),
        (ScalingSection(num_workers=4), [16.0, 16.0], 1, 7),
        (ScalingSection(num_workers=(1, 2)), [0.0, 8.0], 3, 1),
        (ScalingSection(num_workers=8), [2.0], 1, 1),
        (ScalingSection(cpus_per_worker=3), [16.0], 2, 3),
        (ScalingSection(use_gpu=True), [16.0], 1, 1),
    ],
)
def test_training_workers_share_what_the_recipe_leaves_open(scaling, nodes, num_runs, num_cpus):
    assert cpus_per_worker(scaling, nodes, num_runs) == num_cpus


@pytest.mark.parametrize(
    ("settings", "num_cores", "num_runs", "num_cpus"),
    [
        ({}, 8, 1, 9),  # all cores and one to read rows
        ({}, 8, 3, 7),  # two for each of three
        ({"num_workers": (1, 4)}, 2, 1, 5),  # never less than one for each
        ({"num_workers": 2, "cpus_per_worker": 3}, 2, 1, 7),
    ],
)
def test_a_local_ray_has_a_cpu_for_all_that_workers_compute_with(
    settings, num_cores, num_runs, num_cpus
):
    scaling = ScalingSection(**settings)
    assert scaling.num_local_cpus(num_cores, num_runs) == num_cpus
    # What the workers then find for themselves.
    found = cpus_per_worker(scaling, [float(num_cpus)], num_runs)
    assert found * scaling.max_workers * num_runs == num_cpus - 1
