"""Put model directories into the registry, and move its aliases: promote, roll back, list, find.

Works on any of pyarrow's file systems. An alias changes in one step; two people who promote the
same alias in the same second are not kept apart, the later one wins. Knows the service not at all:
who serves an alias looks it up when the service starts.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.fs
from pydantic import ValidationError

from ernie_ray.errors import ConfigError, DataError, ModelDirError
from ernie_ray.inference.parity import cosines
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.storage import Location, Storage, staging_path
from ernie_ray.modeldir import Manifest, open_model_dir
from ernie_ray.modeldir.folder import MANIFEST, read_manifest
from ernie_ray.modeldir.registry import (
    MODELS,
    Alias,
    Reference,
    alias_file,
    alias_of_file,
    model_folder,
)
from ernie_ray.text.features import is_first
from ernie_ray.text.row_files import file_system, first_line


@dataclass(frozen=True)
class Bounds:
    """What a candidate must reach.

    Attributes:
        min_metrics: Smallest value by ``split.metric``, e.g. ``{"dev.accuracy": 0.9}``.
        max_drop: How much less than the alias's present model it may have, by ``split.metric``.
        min_cosine: Smallest cosine of a golden text's vector to the trained network's.
        engine: Engine that is compared; as for ``Predictor.from_dir``.
        precision: Its precision.
    """

    min_metrics: Mapping[str, float] = field(default_factory=dict)
    max_drop: Mapping[str, float] = field(default_factory=dict)
    min_cosine: float = 0.0
    engine: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True)
class RegisteredModel:
    """One model of the registry.

    Attributes:
        name: Its name.
        versions: Its versions, oldest first.
        aliases: What each alias means.
    """

    name: str
    versions: tuple[str, ...]
    aliases: dict[str, Alias]


def promote(
    candidate: str, name: str, alias: str, *, bounds: Bounds, storage: Storage, version: str = ""
) -> Alias:
    """Make an alias mean a candidate, once it has proved to be good enough.

    A candidate outside the registry is copied in first; the alias moves last, so that a crash
    leaves it as it was.

    Args:
        candidate: Model directory, as ``Storage.resolve`` takes it, or a version of this model.
        name: Model's name.
        alias: Alias to move.
        bounds: What the candidate must reach.
        storage: Holds the registry.
        version: Version for a new candidate; empty: the next number.

    Returns:
        The alias as it is now.

    Raises:
        ModelDirError: The candidate is damaged or falls short of a bound; nothing was changed.
        ConfigError: A name or a metric does not exist, or the version is taken.
        DataError: A place cannot be read or written.
    """
    target = alias_file(name, alias)  # refuses bad names first
    known = _versions(name, storage)
    source = model_folder(name, candidate) if candidate in known else candidate
    folder = storage.fetch(source)
    present = _read_alias(target, storage) if storage.exists(target) else None
    manifest = open_model_dir(folder).manifest
    problems = _metric_problems(manifest.metrics, bounds.min_metrics)
    if present is not None and bounds.max_drop:
        current = read_manifest(storage.fetch(model_folder(name, present.version)))
        least = {key: _metric(current.metrics, key) - drop for key, drop in bounds.max_drop.items()}
        problems += _metric_problems(manifest.metrics, least)
    problems += _parity_problems(folder, bounds)
    if problems:
        raise ModelDirError(f"{candidate} is not promoted: {'; '.join(problems)}")
    chosen = candidate
    if candidate not in known:
        chosen = version or _next_version(known)
        _copy_in(folder, model_folder(name, chosen), storage)
    moved = _moved(present, chosen, manifest)
    _write_alias(target, moved, storage)
    return moved


def rollback(name: str, alias: str, *, storage: Storage) -> Alias:
    """Make an alias mean what it meant before the last promotion.

    Raises:
        ConfigError: There is no such alias, or it never meant anything else.
        ModelDirError: The version before is damaged, or not the one that the alias meant.
    """
    target = alias_file(name, alias)
    if not storage.exists(target):
        raise ConfigError(f"{name} has no alias {alias!r}; `ernie-ray models` lists them")
    present = _read_alias(target, storage)
    back = present.moved_back()
    if back is None:
        raise ConfigError(f"{name}@{alias} never meant another version than {present.version}")
    place = model_folder(name, back.version)
    found = open_model_dir(storage.fetch(place)).manifest.fingerprint
    if back.fingerprint not in ("", found):
        raise ModelDirError(
            f"{storage.resolve(place)} is not the model that {name}@{alias} meant ({found} instead "
            f"of {back.fingerprint}); put that one back, or promote version {back.version} to mean "
            "the one that is there"
        )
    back = back.model_copy(update={"fingerprint": found})
    _write_alias(target, back, storage)
    return back


def list_models(storage: Storage) -> list[RegisteredModel]:
    """List every model of the registry, by name."""
    found = []
    for entry in _entries(MODELS, storage):
        if entry.type != pyarrow.fs.FileType.Directory or entry.base_name.startswith("."):
            continue
        name = entry.base_name
        aliases = {}
        for inner in _entries(model_folder(name), storage):
            alias = alias_of_file(inner.base_name)
            if alias is not None:
                aliases[alias] = _read_alias(alias_file(name, alias), storage)
        found.append(RegisteredModel(name, tuple(_versions(name, storage)), aliases))
    return sorted(found, key=lambda model: model.name)


def find_model(reference: str, storage: Storage) -> Location:
    """Give the place of a model directory that is named by a path, a URI or ``NAME@ALIAS``.

    Raises:
        ConfigError: The alias does not exist.
        ModelDirError: The version's folder is not the one that was promoted.
    """
    parsed = Reference.parse(reference)
    if parsed is None or storage.exists(reference):
        return storage.resolve(reference)
    if not storage.exists(parsed.file):
        raise ConfigError(
            f"{reference}: no alias file at {storage.resolve(parsed.file)}; `ernie-ray models` "
            "lists what there is, `ernie-ray promote` makes one"
        )
    alias = _read_alias(parsed.file, storage)
    place = model_folder(parsed.name, alias.version)
    found = read_manifest(storage.fetch(place)).fingerprint
    if found != alias.fingerprint:
        raise ModelDirError(
            f"{reference}: {storage.resolve(place)} is not the model that was promoted "
            f"({found} instead of {alias.fingerprint}); promote it again or roll back"
        )
    return storage.resolve(place)


def _metric_problems(
    metrics: Mapping[str, Mapping[str, float]], least: Mapping[str, float]
) -> list[str]:
    found = {key: _metric(metrics, key) for key in least}
    return [
        f"{key} is {found[key]:.4f}, at least {bound:.4f} needed"
        for key, bound in least.items()
        if not found[key] >= bound  # NaN falls short, too
    ]


def _metric(metrics: Mapping[str, Mapping[str, float]], key: str) -> float:
    split, _, metric = key.partition(".")
    if metric not in metrics.get(split, {}):
        known = [f"{s}.{m}" for s, values in metrics.items() for m in values]
        raise ConfigError(f"no metric {key!r} in the manifest; it has {', '.join(known) or 'none'}")
    return metrics[split][metric]


def _parity_problems(folder: Path, bounds: Bounds) -> list[str]:
    # Loading compares with the golden outputs by the manifest's own bounds.
    predictor = Predictor.from_dir(folder, engine=bounds.engine, precision=bounds.precision)
    golden = open_model_dir(folder).golden_texts()
    texts = [g.text if g.text_pair is None else (g.text, g.text_pair) for g in golden]
    # A long text of a tagger or reader has several windows; the golden vector is the first one's.
    rows = [row for row in predictor.tokenize(texts) if is_first(row)]
    vectors = predictor.forward(rows).vectors
    worst = float(cosines(vectors, np.array([g.vector for g in golden], np.float32)).min())
    if worst >= bounds.min_cosine:
        return []
    which = f"{predictor.engine} {predictor.precision}"
    return [f"parity of {which} is a cosine of {worst:.6f}, at least {bounds.min_cosine} needed"]


def _moved(present: Alias | None, version: str, manifest: Manifest) -> Alias:
    if present is None:
        return Alias(version=version, fingerprint=manifest.fingerprint)
    if present.version == version:
        # Its folder may be another one than before.
        return present.model_copy(update={"fingerprint": manifest.fingerprint})
    return present.moved_to(version, manifest.fingerprint)


def _copy_in(folder: Path, target: str, storage: Storage) -> None:
    staging = staging_path(storage.resolve(target))
    try:
        shutil.copytree(folder, staging)
        storage.publish(staging, target, last=MANIFEST)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _versions(name: str, storage: Storage) -> list[str]:
    names = [
        entry.base_name
        for entry in _entries(model_folder(name), storage)
        if entry.type == pyarrow.fs.FileType.Directory and not entry.base_name.startswith(".")
    ]
    # The manifest is copied last: without it a folder is what an interrupted promotion left.
    folder = model_folder(name)
    names = [one for one in names if storage.exists(f"{folder}/{one}/{MANIFEST}")]
    return sorted(names, key=lambda v: (v.isdecimal(), int(v) if v.isdecimal() else 0, v))


def _next_version(known: Sequence[str]) -> str:
    return str(max((int(one) for one in known if one.isdecimal()), default=0) + 1)


def _entries(folder: str, storage: Storage) -> list[Any]:
    system, path = _file_system(storage.resolve(folder))
    try:
        found: list[Any] = system.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{folder}: cannot be listed: {first_line(error)}") from error
    return found


def _read_alias(file: str, storage: Storage) -> Alias:
    # Not by Storage.fetch, whose copies live as long as sizes and times at the source agree.
    system, path = _file_system(storage.resolve(file))
    try:
        with system.open_input_stream(path) as stream:
            return Alias.model_validate_json(stream.read())
    except (OSError, pyarrow.ArrowException, ValidationError) as error:
        raise DataError(f"{file}: not an alias file: {first_line(error)}") from error


def _write_alias(file: str, alias: Alias, storage: Storage) -> None:
    system, path = _file_system(storage.resolve(file))
    folder, _, base = path.rpartition("/")
    partial = f"{folder}/.{base}.{uuid.uuid4().hex[:8]}.partial"
    try:
        system.create_dir(folder, recursive=True)
        with system.open_output_stream(partial) as stream:
            stream.write(alias.model_dump_json(indent=1).encode() + b"\n")
        system.move(partial, path)  # one step: a rename, or on object stores a copy of one object
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{file}: cannot be written: {first_line(error)}") from error


def _file_system(location: Location) -> tuple[Any, str]:
    if isinstance(location, Path):
        return pyarrow.fs.LocalFileSystem(), str(location)
    return file_system(location)
