"""`ray-cluster.yaml`, checked with the launcher's own schema and without a cloud."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from ernie_ray.environment import cluster_environment

PATH = Path(__file__).parents[2] / "ray-cluster.yaml"


@pytest.fixture
def cluster():
    return yaml.safe_load(PATH.read_text(encoding="utf-8"))


def checked(cluster):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster)
    validate_config(prepared)
    return prepared


def test_the_launcher_accepts_it(cluster):
    prepared = checked(cluster)
    assert set(prepared["available_node_types"]) == {"head", "cpu_worker", "gpu_worker"}
    assert prepared["head_node_type"] == "head"


def test_the_launchers_check_notices_a_misspelt_key(cluster):
    cluster["available_node_types"]["cpu_worker"]["max_worker"] = 3
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        checked(cluster)


def test_every_node_gets_the_environment_of_the_table(cluster):
    options = cluster["docker"]["run_options"]
    pairs = [option.split(" ", 1)[1] for option in options if option.startswith("--env ")]
    assert dict(pair.split("=", 1) for pair in pairs) == cluster_environment()
    # Options of one kind of node would come on top of the shared ones and could differ.
    assert not {"head_run_options", "worker_run_options"} & set(cluster["docker"])
    for node_type in cluster["available_node_types"].values():
        assert set(node_type.get("docker", {})) <= {"worker_image"}


def test_nodes_share_one_token(cluster):
    assert cluster_environment()["RAY_AUTH_MODE"] == "token"
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_images_carry_the_version_of_the_library(cluster):
    from importlib.metadata import version

    images = [cluster["docker"]["image"]]
    images += [
        node_type["docker"]["worker_image"]
        for node_type in cluster["available_node_types"].values()
        if "docker" in node_type
    ]
    assert [image.split("-gpu")[0] for image in images] == [f"ernie-ray:{version('ernie-ray')}"] * 2


def test_only_gpu_workers_offer_gpus(cluster):
    offers = {name: t["resources"].get("GPU", 0) for name, t in _types(cluster)}
    assert offers == {"head": 0, "cpu_worker": 0, "gpu_worker": 1}


def _types(cluster):
    return cluster["available_node_types"].items()


def test_the_image_has_the_environment_of_the_table():
    dockerfile = (PATH.parent / "cluster" / "Dockerfile").read_text(encoding="utf-8")
    lines = dockerfile.replace("\\\n", " ").splitlines()
    pairs = [pair for line in lines if line.startswith("ENV ") for pair in line.split()[1:]]
    found = dict(pair.split("=", 1) for pair in pairs if not pair.startswith("PIP_"))
    assert found == cluster_environment()
