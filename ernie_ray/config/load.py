"""Read a TOML recipe, apply ``--set section.key=value``, and name what is wrong with it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ernie_ray.config.recipe import Recipe
from ernie_ray.errors import ConfigError

_R = TypeVar("_R", bound=BaseModel)


def builtin_recipes(folder_name: str = "") -> dict[str, str]:
    """Names and TOML texts of the recipes inside the package.

    Args:
        folder_name: Empty for fine-tuning, else ``distill``, ``slim``, ``tiny`` or ``tune``.
    """
    folder = resources.files("ernie_ray") / "recipes"
    if folder_name:
        folder = folder / folder_name
    return {
        entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe.

    Args:
        name_or_path: A name of ``builtin_recipes`` or the path of a TOML file.
        overrides: Assignments ``section.key=value``; values are TOML, bare words are text.

    Raises:
        ConfigError: No such recipe, not TOML, an unknown key or a wrong value.
    """
    return load_recipe_of(Recipe, name_or_path, overrides)


def load_recipe_of(
    kind: type[_R], name_or_path: str, overrides: Sequence[str] = (), *, folder_name: str = ""
) -> _R:
    """Load a recipe of any kind; see ``load_recipe``.

    Args:
        kind: Validates it.
        name_or_path: A name of ``builtin_recipes(folder_name)`` or the path of a TOML file.
        overrides: Assignments ``section.key=value``.
        folder_name: Where the built-in recipes of this kind are.

    Raises:
        ConfigError: As for ``load_recipe``.
    """
    settings = _parse(_read(name_or_path, folder_name), name_or_path)
    for assignment in overrides:
        _assign(settings, assignment)
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"recipe {name_or_path}: {explain(error)}") from None


def _read(name_or_path: str, folder_name: str) -> str:
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"recipe {name_or_path}: cannot be read: {error}") from error
    builtin = builtin_recipes(folder_name)
    if name_or_path not in builtin:
        raise ConfigError(
            f"no recipe {name_or_path!r}; give the path of a .toml file or one of: "
            + ", ".join(builtin)
        )
    return builtin[name_or_path]


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"recipe {origin}: not TOML: {error}") from error


def _assign(settings: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and section and name):
        raise ConfigError(f"--set {assignment}: write section.key=value, e.g. training.seed=7")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word such as a path or a name
    table = settings.setdefault(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"--set {assignment}: {section} is not a section")
    table[name] = value


def explain(error: ValidationError, section: str = "") -> str:
    """Say in one line what is wrong with settings, and what to write instead.

    Args:
        error: Of a recipe, or of a section.
        section: Name of the section; empty: of a whole recipe.
    """
    return "; ".join(_explain(problem, section) for problem in error.errors())


def _explain(problem: ErrorDetails, section: str) -> str:
    key = ".".join(str(part) for part in (section, *problem["loc"]) if part != "")
    kind, given = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        return f"unknown key {key}; remove it or correct its name"
    if kind == "missing":
        if "." in key:
            return f"{key} is missing; add it or give --set {key}=..."
        return f"the section [{key}] is missing; add it, or give its keys as in --set {key}.KEY=..."
    if kind in ("tuple_type", "list_type") and "[" not in key:  # with it, one of several forms
        items = [one.strip() for one in given.split(",")] if isinstance(given, str) else [given]
        written = json.dumps(items, ensure_ascii=False, default=str)
        return f"{key} is a list: write --set '{key}={written}'"
    # Of a rule of ours pydantic's own words add nothing.
    message = str(problem["ctx"]["error"]) if kind == "value_error" else problem["msg"]
    return f"{key}: {message}" if key else message
