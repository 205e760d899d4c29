"""The one table of environment variables, as every kind of file writes it down.

Knows how to spell; what the variables are, ``ernie_ray.environment`` knows. Only settings that
every node and driver share are rendered: those of one machine are set by whatever starts there.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

import yaml

from ernie_ray.environment import docker, shell

CONFIG_MAP = "ernie-ray-environment"


def launcher(variables: Mapping[str, str]) -> str:
    """Items of `docker.run_options` in a file of `ray up`."""
    pairs = (shlex.quote(f"{name}={value}") for name, value in variables.items())
    return "".join(f"    - --env {pair}\n" for pair in pairs)


def kubernetes(variables: Mapping[str, str]) -> str:
    """A whole ConfigMap, which containers take with `envFrom`."""
    body = yaml.safe_dump({"data": dict(variables)}, sort_keys=False, default_style=None)
    return (
        "# What every Ray container starts with, rendered from ernie_ray/environment.py:\n"
        "#   python -m cluster render kubernetes > cluster/k8s/environment.yaml\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n"
        f"  name: {CONFIG_MAP}\n{body}"
    )


FORMS: dict[str, Callable[[Mapping[str, str]], str]] = {
    "shell": shell,
    "docker": docker,
    "launcher": launcher,
    "kubernetes": kubernetes,
}
