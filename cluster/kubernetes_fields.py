"""Which fields a Kubernetes document may have: by our list, or by KubeRay's CRDs in a folder.

Knows names and kinds of fields; not whether their values make sense together.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # Ray depends on it
import yaml

_LIST = Path(__file__).with_name("kuberay_fields.yaml")
_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "whole": (int,),
    "number": (int, float),
    "quantity": (str, int, float),
    "yes_no": (bool,),
}
Problem = tuple[str, str]
"""A place in the document, and what is wrong there."""


def field_problems(document: dict[str, Any], crds: Path | None = None) -> Iterator[Problem]:
    """Find fields that a document's kind does not have, or whose value is of another type.

    Args:
        document: One Kubernetes object.
        crds: Folder of CRD files; they decide about the kinds that they define.
    """
    schema = _crd_schema(document, crds) if crds else None
    if schema is None:
        yield from _list_problems(document)
        return
    for error in jsonschema.Draft202012Validator(schema).iter_errors(document):
        yield ".".join(str(part) for part in error.absolute_path), error.message


@functools.cache
def _listed_kinds() -> dict[str, Any]:
    kinds: dict[str, Any] = yaml.safe_load(_LIST.read_text(encoding="utf-8"))["kinds"]
    return kinds


def _list_problems(document: dict[str, Any]) -> Iterator[Problem]:
    kinds = _listed_kinds()
    kind = document.get("kind")
    if kind not in kinds:
        yield "kind", f"{kind!r} is none of {', '.join(kinds)}"
        return
    wanted = kinds[kind]["apiVersion"]
    if document.get("apiVersion") != wanted:
        yield "apiVersion", f"is {document.get('apiVersion')!r}, {kind} has {wanted!r}"
    body = {key: value for key, value in document.items() if key not in ("apiVersion", "kind")}
    yield from _compare(body, kinds[kind]["fields"], "")


def _compare(value: Any, allowed: Any, place: str) -> Iterator[Problem]:
    if isinstance(allowed, dict) and isinstance(value, dict):
        for key, one in value.items():
            inner = f"{place}.{key}" if place else str(key)
            if key in allowed:
                yield from _compare(one, allowed[key], inner)
            else:
                yield inner, "no such field"
    elif isinstance(allowed, list) and isinstance(value, list):
        for i, one in enumerate(value):
            yield from _compare(one, allowed[0], f"{place}.{i}")
    elif not isinstance(allowed, str):
        yield place, f"is {value!r}, not a {'list' if isinstance(allowed, list) else 'mapping'}"
    else:
        yield from _compare_kind(value, allowed, place)


def _compare_kind(value: Any, kind: str, place: str) -> Iterator[Problem]:
    if kind == "map":
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            yield place, "must hold texts only; put numbers in quotes"
    elif kind != "any" and (
        not isinstance(value, _KINDS[kind])
        or (isinstance(value, bool) and kind != "yes_no")  # Python's bool is an int
    ):
        yield place, f"is {value!r}, not {kind}"


def _crd_schema(document: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    for path in sorted(folder.glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if not crd or crd.get("kind") != "CustomResourceDefinition":
                continue
            if crd["spec"]["names"]["kind"] != document.get("kind"):
                continue
            for version in crd["spec"]["versions"]:
                name = f"{crd['spec']['group']}/{version['name']}"
                if name == document.get("apiVersion"):
                    return _strict(version["schema"]["openAPIV3Schema"])
    return None


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A CRD's schema that refuses unknown fields, which Kubernetes would silently drop."""
    strict = copy.deepcopy(schema)
    strict["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own, not in the CRD
    _close(strict)
    return strict


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for one in schema:
            _close(one)
    elif isinstance(schema, dict):
        if schema.pop("x-kubernetes-int-or-string", False):
            schema.pop("anyOf", None)
            schema["type"] = ["integer", "string"]
        keeps = schema.pop("x-kubernetes-preserve-unknown-fields", False)
        if isinstance(schema.get("properties"), dict) and not keeps:
            schema.setdefault("additionalProperties", False)
        for one in list(schema.values()):
            _close(one)
