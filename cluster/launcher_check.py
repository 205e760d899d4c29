"""Checks of the files of `ray up`, without a cloud: the launcher's own schema and our agreements.

Does not know prices, regions or whether an instance type exists.
"""

from __future__ import annotations

import copy
import logging
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema  # Ray depends on it
import yaml

from cluster.project import GPU_IMAGE, STORAGE, Finding, Project, check_environment, read_documents
from ernie_ray.environment import cluster_environment

_TOKEN = "~/.ray/auth_token"
_PLACE = "docker.run_options"


def check_launcher_files(project: Project) -> Iterator[Finding]:
    """Check every file of `ray up`, and that they give nodes the same environment."""
    options: dict[str, list[str]] = {}
    for path in project.launcher_files():
        name = project.name(path)
        try:
            (document,) = read_documents(path)
        except (yaml.YAMLError, ValueError) as error:
            yield Finding(name, "", f"is not one YAML document: {str(error).splitlines()[0]}")
            continue
        yield from check_launcher(project, path, document)
        options[name] = document.get("docker", {}).get("run_options", [])
    (first, expected), *others = options.items() or [("", [])]
    for name, found in others:
        if found != expected:
            yield Finding(name, _PLACE, f"differs from that of {first}")


def check_launcher(project: Project, path: Path, document: dict[str, Any]) -> Iterator[Finding]:
    """Check one file of `ray up`."""
    name = project.name(path)
    problem = _schema_problem(document)
    if problem:  # the other checks would stumble over the same
        yield Finding(name, "", problem)
        return
    yield from _check_nodes_alike(name, document)
    yield from _check_images(project, name, document)
    yield from _check_bounds(name, document)


def _schema_problem(document: dict[str, Any]) -> str:
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)  # reports what it fills in
    try:
        # A copy: the launcher fills defaults in.
        validate_config(prepare_config(copy.deepcopy(document)))
    except jsonschema.ValidationError as error:
        place = ".".join(str(part) for part in error.absolute_path)
        return f"{place}: {error.message}" if place else error.message
    except (click.ClickException, ValueError, KeyError) as error:
        return f"the launcher refuses it: {getattr(error, 'message', error)}"
    return ""


def _check_nodes_alike(name: str, document: dict[str, Any]) -> Iterator[Finding]:
    docker = document.get("docker", {})
    variables = _environment(docker.get("run_options", []))
    storage = variables.pop(STORAGE, "")
    yield from check_environment(name, _PLACE, variables, cluster_environment())
    for key in ("head_run_options", "worker_run_options"):
        if docker.get(key):
            yield Finding(name, f"docker.{key}", "would make head and workers differ; remove it")
    for kind, node in document.get("available_node_types", {}).items():
        for key in set(node.get("docker", {})) - {"worker_image", "head_image"}:
            yield Finding(name, f"{kind}.docker.{key}", "would make nodes differ; remove it")
    if not storage:
        yield Finding(name, _PLACE, f"no --env {STORAGE}: jobs would not know where to write")
    elif "://" not in storage and not _is_mounted(storage, docker.get("run_options", [])):
        yield Finding(name, _PLACE, f"no --volume mounts {storage}, which {STORAGE} names")
    uses_tokens = variables.get("RAY_AUTH_MODE") == "token"
    if uses_tokens and document.get("file_mounts", {}).get(_TOKEN) != _TOKEN:
        yield Finding(name, "file_mounts", f"lacks {_TOKEN}: nodes would have different tokens")


def _environment(options: list[str]) -> dict[str, str]:
    # The launcher hands them to a shell.
    pairs = [shlex.split(option)[1] for option in options if option.startswith("--env ")]
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _is_mounted(folder: str, options: list[str]) -> bool:
    volumes = [option.split(" ", 1)[1] for option in options if option.startswith("--volume ")]
    return any(Path(folder).is_relative_to(volume.split(":")[1]) for volume in volumes)


def _check_images(project: Project, name: str, document: dict[str, Any]) -> Iterator[Finding]:
    shared = document.get("docker", {}).get("image", "")
    yield from project.check_image(name, "docker.image", shared)
    for kind, node in document.get("available_node_types", {}).items():
        image = node.get("docker", {}).get("worker_image", shared)
        yield from project.check_image(name, f"{kind}.docker.worker_image", image)
        if bool(node.get("resources", {}).get("GPU")) != image.endswith(GPU_IMAGE):
            yield Finding(name, kind, f"its GPUs do not fit its image {image!r}")


def _check_bounds(name: str, document: dict[str, Any]) -> Iterator[Finding]:
    kinds = document.get("available_node_types", {})
    workers = {kind: node for kind, node in kinds.items() if kind != document["head_node_type"]}
    low = sum(node.get("min_workers", 0) for node in workers.values())
    for kind, node in workers.items():
        if node.get("min_workers", 0) > node.get("max_workers", 0):
            yield Finding(name, kind, "min_workers is more than max_workers")
    if not kinds:
        low = document.get("min_workers", 0)
        machines = len(document["provider"].get("worker_ips", []))
        if document.get("max_workers", machines) > machines:
            yield Finding(name, "max_workers", f"is more than the {machines} worker_ips")
    if low > document.get("max_workers", low):
        yield Finding(name, "max_workers", f"is less than the {low} workers that always run")
    high = sum(node.get("max_workers", 0) for node in workers.values())
    if workers and high < document.get("max_workers", high):
        yield Finding(name, "max_workers", f"can never be reached: the types allow {high}")
    head = kinds.get(document.get("head_node_type"), {})
    if kinds and head.get("resources", {}).get("CPU") != 0:
        yield Finding(name, "head", "its resources must be {CPU: 0}, so that no work runs there")
