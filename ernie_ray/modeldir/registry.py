"""The registry is a folder convention: where versions of a model stand, and which one is meant.

models/NAME/VERSION/            a model directory; never changed
models/NAME/ALIAS.alias.json    the version that an alias means, and those that it meant before

Knows names and the contents of an alias file; moves no files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from ernie_ray.errors import ConfigError

MODELS = "models"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ALIAS_ENDING = ".alias.json"


class Alias(BaseModel):
    """Contents of an alias file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Field(min_length=1, description="Version that the alias means now.")
    previous: tuple[str, ...] = Field((), description="Versions that it meant before, last first.")
    fingerprint: str = Field(description="Of the version's manifest, so that a swap is noticed.")
    fingerprints: dict[str, str] = Field(
        {}, description="The same of earlier versions, as they were when the alias left them."
    )

    def moved_to(self, version: str, fingerprint: str) -> Alias:
        """The alias after a promotion."""
        return Alias(
            version=version,
            previous=(self.version, *self.previous),
            fingerprint=fingerprint,
            fingerprints=self.fingerprints | {self.version: self.fingerprint},
        )

    def moved_back(self) -> Alias | None:
        """The alias before the last promotion; its fingerprint is empty where none was kept."""
        if not self.previous:
            return None
        version, *rest = self.previous
        return Alias(
            version=version,
            previous=tuple(rest),
            fingerprint=self.fingerprints.get(version, ""),
            fingerprints=self.fingerprints,
        )


@dataclass(frozen=True)
class Reference:
    """A model in the registry, ``NAME@ALIAS``.

    Attributes:
        name: Model's name.
        alias: What callers ask for, e.g. ``production``.
    """

    name: str
    alias: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read ``NAME@ALIAS``; None if the text is not of this form, such as a path."""
        name, sign, alias = text.partition("@")
        if not sign or not _NAME.fullmatch(name) or not _NAME.fullmatch(alias):
            return None
        return cls(name, alias)

    @property
    def file(self) -> str:
        """The alias file's relative path."""
        return alias_file(self.name, self.alias)


def model_folder(name: str, version: str = "") -> str:
    """Relative path of a model, or of one of its versions.

    Raises:
        ConfigError: A name holds other signs than letters, digits, ``.``, ``_`` and ``-``.
    """
    for part in filter(None, (name, version)):
        if not _NAME.fullmatch(part):
            raise ConfigError(
                f"{part!r} cannot name a model, a version or an alias; use letters, digits, "
                "'.', '_' and '-', starting with a letter or digit"
            )
    return f"{MODELS}/{name}/{version}".rstrip("/")


def alias_file(name: str, alias: str) -> str:
    """Relative path of an alias file.

    Raises:
        ConfigError: As for ``model_folder``.
    """
    model_folder(name, alias)
    return f"{MODELS}/{name}/{alias}{_ALIAS_ENDING}"


def alias_of_file(file_name: str) -> str | None:
    """The alias of a file's name; None if it is no alias file."""
    is_alias = file_name.endswith(_ALIAS_ENDING) and not file_name.startswith(".")
    return file_name.removesuffix(_ALIAS_ENDING) if is_alias else None
