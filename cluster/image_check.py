"""Checks of the image: its environment, and that every lock pins the Ray of `pyproject.toml`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from cluster.project import Finding, Project, check_environment
from ernie_ray.environment import cluster_environment


def check_image_files(project: Project) -> Iterator[Finding]:
    """Check the Dockerfile and the locks."""
    path = project.dockerfile()
    name = project.name(path)
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("ENV ")]
    variables = dict(pair.split("=", 1) for line in lines for pair in shlex.split(line)[1:])
    shared = {key: value for key, value in variables.items() if not key.startswith("PIP_")}
    if shared.pop("HOME", None) != "/home/ray":
        # `ray up` mounts the token below the image's HOME, and else below /root.
        yield Finding(name, "ENV", "lacks HOME=/home/ray, where `ray up` mounts the token")
    yield from check_environment(name, "ENV", shared, cluster_environment())
    for lock in re.findall(r"-r (requirements/\S+)", text):
        if not (project.root / lock).is_file():
            yield Finding(name, "", f"installs {lock}, which is not there")
    if text.count("--require-hashes") != len(re.findall(r"-r requirements/", text)):
        yield Finding(name, "", "installs a lock without --require-hashes")
    if not re.search(r"^USER (?!root)", text, re.MULTILINE):
        yield Finding(name, "USER", "the image runs as root")
    for path in project.locks():
        yield from _check_lock(project, path)


def _check_lock(project: Project, path: Path) -> Iterator[Finding]:
    found = re.search(r"^ray(?:\[[^\]]*\])?==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    version = found.group(1) if found else "no Ray"
    if version != project.ray_version():
        problem = f"pins {version}, pyproject.toml {project.ray_version()}; run `make lock`"
        yield Finding(project.name(path), "ray", problem)
