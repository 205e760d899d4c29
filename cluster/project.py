"""The files that this package knows, and what a check says of one of them.

Does not know what is in the files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent

STORAGE = "ERNIE_RAY_STORAGE"
"""Names the place that relative paths of jobs start from; no setting of Ray's, so not in the table
of ``ernie_ray.environment``."""

GPU_IMAGE = "-gpu"
"""Ending of the tags of images with Paddle's GPU build."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        file: File, relative to the project.
        where: Place in it, e.g. ``spec.rayVersion``; empty: the whole file.
        problem: What is wrong and what would be right.
    """

    file: str
    where: str
    problem: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.where, self.problem) if part)


@dataclass(frozen=True)
class Project:
    """The checked files of a working tree.

    Attributes:
        root: The project's folder.
    """

    root: Path = ROOT

    def launcher_files(self) -> list[Path]:
        """Files of ``ray up``."""
        return sorted(self.root.glob("ray-cluster*.yaml"))

    def kubernetes_files(self) -> list[Path]:
        """Files of ``kubectl apply``."""
        return sorted((self.root / "cluster" / "k8s").glob("*.yaml"))

    def serve_files(self) -> list[Path]:
        """Files of ``serve deploy``."""
        return sorted((self.root / "serve_apps").glob("*.yaml"))

    def dockerfile(self) -> Path:
        """The image of every node."""
        return self.root / "cluster" / "Dockerfile"

    def locks(self) -> list[Path]:
        """Pinned versions, as the images install them."""
        return sorted((self.root / "requirements").glob("*.lock"))

    def name(self, path: Path) -> str:
        """A file's name in findings."""
        return path.relative_to(self.root).as_posix()

    def metadata(self) -> dict[str, Any]:
        """Section ``[project]`` of ``pyproject.toml``."""
        with (self.root / "pyproject.toml").open("rb") as stream:
            metadata: dict[str, Any] = tomllib.load(stream)["project"]
        return metadata

    def library_version(self) -> str:
        """Version of the library, which its images carry as their tag."""
        return str(self.metadata()["version"])

    def ray_version(self) -> str:
        """Ray's version as ``pyproject.toml`` pins it."""
        pins = [one for one in self.metadata()["dependencies"] if one.startswith("ray[")]
        return str(pins[0].partition("==")[2])

    def check_image(self, file: str, where: str, image: str) -> Iterator[Finding]:
        """Compare an image's tag with the version of the library."""
        wanted = f"ernie-ray:{self.library_version()}"
        if image.rpartition("/")[2].removesuffix(GPU_IMAGE) != wanted:
            yield Finding(file, where, f"image {image!r} is not {wanted} or {wanted}{GPU_IMAGE}")


def read_documents(path: Path) -> list[dict[str, Any]]:
    """Read the documents of a YAML file.

    Raises:
        yaml.YAMLError: It is no YAML.
    """
    # The C parser is ten times as fast as `safe_load_all`, and as safe.
    documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
    return [document for document in documents if document is not None]


def check_environment(
    file: str, where: str, found: dict[str, str], expected: dict[str, str]
) -> Iterator[Finding]:
    """Compare variables with the table of ``ernie_ray.environment``, name by name."""
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            yield Finding(file, where, f"{name}={expected[name]} is missing")
        elif name not in expected:
            yield Finding(file, where, f"{name} is not in ernie_ray/environment.py")
        elif found[name] != expected[name]:
            yield Finding(file, where, f"{name}={found[name]}, the table says {expected[name]}")
