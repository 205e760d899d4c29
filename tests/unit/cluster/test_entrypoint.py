"""Command lines of jobs, parsed by the library's own commands."""

import pytest

from cluster.entrypoint import JobNeeds, entrypoint_needs


def test_a_fine_tuning_needs_its_workers_with_their_cpus_and_gpus():
    words = "python -m ernie_ray finetune classify --set data.train=a.jsonl"
    scaling = "--set scaling.num_workers=4 --set scaling.cpus_per_worker=3 --set scaling.use_gpu=1"
    assert entrypoint_needs(f"{words} {scaling}") == JobNeeds(4, 3, 1)


def test_a_prediction_needs_its_actors_and_other_verbs_do_not_say():
    assert entrypoint_needs("python -m ernie_ray predict m r --num-actors 5") == JobNeeds(5, 1, 0)
    assert entrypoint_needs("python -m ernie_ray evaluate m r") is None


@pytest.mark.parametrize(
    ("entrypoint", "message"),
    [
        ("ernie-ray finetune classify", "is not `python -m ernie_ray COMMAND"),
        ("python -m ernie_ray", "is not `python -m ernie_ray COMMAND"),
        ("python -m ernie_ray labels a b", "no command 'labels'"),
        ("python -m ernie_ray predict m", "Missing argument 'INPUT'"),
        ("python -m ernie_ray finetune nothing.toml", "nothing.toml"),
    ],
)
def test_what_cannot_run_is_said_before_a_cluster_starts(entrypoint, message):
    with pytest.raises(ValueError, match=r"\S") as caught:
        entrypoint_needs(entrypoint)
    assert message in str(caught.value)
