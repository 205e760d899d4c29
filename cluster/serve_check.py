"""Checks of Serve configurations, in files and inside RayServices: Serve's schema, our arguments.

Starts no Ray and opens no model.
"""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pydantic
import yaml

from cluster.project import Finding, Project, read_documents


@dataclass(frozen=True)
class Replicas:
    """What one deployment asks of a cluster.

    Attributes:
        deployment: Its name.
        most: Largest number of replicas.
        during_update: Replicas at the same time while an update runs at that number.
        num_cpus: CPUs of each.
        num_gpus: GPUs of each.
    """

    deployment: str
    most: int
    during_update: int
    num_cpus: float
    num_gpus: float


def check_serve_files(project: Project) -> Iterator[Finding]:
    """Check every file of `serve deploy`."""
    for path in project.serve_files():
        try:
            (document,) = read_documents(path)
        except (yaml.YAMLError, ValueError) as error:
            problem = f"is not one YAML document: {str(error).splitlines()[0]}"
            yield Finding(project.name(path), "", problem)
            continue
        yield from check_serve_config(project.name(path), "", document)


def check_serve_config(file: str, where: str, config: dict[str, Any]) -> Iterator[Finding]:
    """Check one Serve configuration.

    Args:
        file: For the findings.
        where: Place of the configuration in the file.
        config: As YAML gives it.
    """
    with warnings.catch_warnings():
        # Of Ray's own models, when they are imported.
        warnings.filterwarnings("ignore", message="Using extra keyword arguments on `Field`")
        from ray.serve.schema import ServeDeploySchema
    try:
        read = ServeDeploySchema.model_validate(config)
    except pydantic.ValidationError as error:
        for one in error.errors():
            yield Finding(file, _join(where, *one["loc"]), one["msg"])
        return
    # Serve passes over keys that it does not know; what survives the round trip is what it read.
    known = read.model_dump(mode="json", exclude_unset=True)
    for key in _lost_keys(config, known):
        yield Finding(file, _join(where, key), "Serve does not know this key")
    for i, application in enumerate(config.get("applications", [])):
        yield from _check_application(file, _join(where, f"applications.{i}"), application)


def replicas(config: dict[str, Any]) -> Iterator[Replicas]:
    """List what the deployments of a configuration ask for."""
    for application in config.get("applications", []):
        for one in application.get("deployments", []):
            scaling = one.get("autoscaling_config", {})
            most = scaling.get("max_replicas", one.get("num_replicas", 1))
            options = one.get("ray_actor_options", {})
            yield Replicas(
                one["name"],
                most,
                math.ceil(most * (1 + one.get("max_surge_percent", 0.0))),
                options.get("num_cpus", 1),
                options.get("num_gpus", 0),
            )


def _check_application(file: str, where: str, application: dict[str, Any]) -> Iterator[Finding]:
    module, _, builder_name = application["import_path"].partition(":")
    try:
        builder = getattr(importlib.import_module(module), builder_name)
    except (ImportError, AttributeError) as error:
        yield Finding(file, f"{where}.import_path", f"cannot be imported: {error}")
        return
    (parameter,) = inspect.signature(builder, eval_str=True).parameters.values()
    try:
        args = parameter.annotation.model_validate(application.get("args", {}))
    except pydantic.ValidationError as error:
        for one in error.errors():
            yield Finding(file, _join(f"{where}.args", *one["loc"]), one["msg"])
        return
    built = sorted(_deployment_names(builder(args)))
    for one in application.get("deployments", []):
        if one["name"] not in built:
            problem = f"{one['name']!r} is none of {', '.join(built)}"
            yield Finding(file, f"{where}.deployments", problem)
        scaling = one.get("autoscaling_config", {})
        if scaling.get("min_replicas", 0) > scaling.get("max_replicas", math.inf):
            yield Finding(file, f"{where}.deployments", "min_replicas is more than max_replicas")


def _deployment_names(value: Any) -> Iterator[str]:
    """Names of an application's deployment and of those that it is built from."""
    from ray.serve import Application

    if isinstance(value, Application):
        bound = value._bound_deployment
        yield bound.name
        value = [*bound.init_args, *bound.init_kwargs.values()]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _deployment_names(inner)


def _lost_keys(given: Any, known: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key not in known:
                yield f"{prefix}{key}"
            else:
                yield from _lost_keys(value, known[key], f"{prefix}{key}.")
    elif isinstance(given, list) and isinstance(known, list):
        for i, (one, other) in enumerate(zip(given, known, strict=False)):
            yield from _lost_keys(one, other, f"{prefix}{i}.")


def _join(*parts: Any) -> str:
    return ".".join(str(part) for part in parts if str(part))
