"""Write a recipe as the TOML that ``load_recipe`` reads."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel


def as_toml(recipe: BaseModel) -> str:
    """Write every setting that has a value; reading the text gives an equal recipe.

    Args:
        recipe: Its fields are sections, whose fields are texts, numbers, truths, and lists and
            tables of them.
    """
    sections = recipe.model_dump(exclude_none=True)
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in settings.items())
        for section, settings in sections.items()
    )


def _value(value: Any) -> str:
    if isinstance(value, str):
        # TOML's basic strings are JSON's, but for one character that must be escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_value(str(k))} = {_value(v)}" for k, v in value.items()) + "}"
    return repr(value)
