import json
import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ernie_ray.cli.env import command
from ernie_ray.environment import (
    SETTINGS,
    Machine,
    cluster_environment,
    missing_serve_switches,
    serve_environment,
    training_worker_environment,
)

AMD = Machine(num_cpus=2, is_amd=True)
INTEL = Machine(num_cpus=64, is_amd=False)


def test_every_setting_says_why_it_is_there():
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
    assert all(len(setting.why) > 20 for setting in SETTINGS)


def test_a_value_that_the_user_set_wins():
    environ = {"RAY_SERVE_ENABLE_HA_PROXY": "0", "OMP_NUM_THREADS": "7"}
    assert serve_environment(environ, machine=AMD)["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    worker = training_worker_environment(2, environ, machine=AMD)
    assert worker["OMP_NUM_THREADS"] == "7"
    assert worker["MKL_NUM_THREADS"] == "2"


def test_the_mkl_switch_is_set_on_amd_only():
    assert training_worker_environment(1, {}, machine=AMD)["MKL_DEBUG_CPU_TYPE"] == "5"
    assert "MKL_DEBUG_CPU_TYPE" not in training_worker_environment(1, {}, machine=INTEL)


@pytest.mark.parametrize(("num_cpus", "num_threads"), [(1, "1"), (2, "1"), (8, "2"), (64, "4")])
def test_haproxy_leaves_small_machines_to_the_engine(num_cpus, num_threads):
    environment = serve_environment({}, machine=Machine(num_cpus, is_amd=False))
    assert environment["RAY_SERVE_HAPROXY_NBTHREAD"] == num_threads


def test_what_nodes_must_share_does_not_depend_on_the_machine():
    shared = cluster_environment()
    assert shared["RAY_SERVE_ENABLE_HA_PROXY"] == shared["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
    assert shared.items() <= serve_environment({}, machine=AMD).items()
    assert "RAY_SERVE_HAPROXY_NBTHREAD" not in shared


def test_missing_switches_are_named_and_a_switch_set_off_is_not_missing():
    environ = {"RAY_SERVE_ENABLE_HA_PROXY": "0"}
    assert missing_serve_switches(environ) == ["RAY_SERVE_THROUGHPUT_OPTIMIZED"]
    assert missing_serve_switches(serve_environment({}, machine=AMD)) == []


def test_env_prints_lines_that_a_shell_takes(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "it's")
    printed = CliRunner().invoke(command, []).output
    words = shlex.split(printed.replace("\n", " "))
    assert "RAY_AUTH_MODE=it's" in words
    assert "RAY_SERVE_ENABLE_HA_PROXY=1" in words
    assert set(words[::2]) == {"export"}


def test_env_prints_docker_lines_and_json():
    docker = CliRunner().invoke(command, ["--format", "docker"]).output.splitlines()
    words = [shlex.split(line) for line in docker]
    assert words == [["ENV", f"{name}={value}"] for name, value in cluster_environment().items()]
    printed = json.loads(CliRunner().invoke(command, ["--format", "json"]).output)
    assert printed["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"


def test_the_table_imports_neither_ray_nor_paddle():
    code = (
        "import sys, ernie_ray.environment, ernie_ray.cli.env;"
        "sys.exit(bool({'ray', 'paddle'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
