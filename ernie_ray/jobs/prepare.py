"""Make what the training workers read: the start folder and the feature caches.

Each is written once per run, whole or not at all, where every worker can reach it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ernie_ray.config import DistillRecipe, LessonRecipe, Recipe
from ernie_ray.errors import ConfigError
from ernie_ray.jobs import runs
from ernie_ray.jobs.features import FeatureRequest, build_feature_cache, collect_labels
from ernie_ray.jobs.storage import Location, Storage, staging_path
from ernie_ray.jobs.warm_start import choose_weights
from ernie_ray.modeldir import Pooling, TaskSpec
from ernie_ray.modeldir.folder import TOKENIZER
from ernie_ray.models.pretrained import (
    PretrainedEncoder,
    from_pretrained,
    keep_layers,
    trim_vocabulary,
)
from ernie_ray.models.start import StartSpec, read_spec, write_start, write_warm_weights
from ernie_ray.tasks import family_of
from ernie_ray.tasks.from_recipe import loose_schema, needs_labels, task_spec
from ernie_ray.text.rows import RowSchema, read_rows
from ernie_ray.text.windows import cut_to_characters


@dataclass(frozen=True)
class Prepared:
    """Where the workers find their inputs: absolute paths or URIs.

    Attributes:
        start: The start folder.
        train: Feature cache of the training rows.
        dev: Feature cache of the dev rows, or None.
        data_digest: Digest of the training rows' features.
    """

    start: Location
    train: Location
    dev: Location | None
    data_digest: str


def row_schema(recipe: Recipe | DistillRecipe | LessonRecipe) -> RowSchema:
    """Columns of the recipe's files; without a task there are no labels."""
    data = recipe.data
    schema = RowSchema(
        text=data.text_column,
        text_pair=data.text_pair_column or None,
        label=None if recipe.task is None else data.label_column,
        query=data.query_column or None,
        header=data.columns,
    )
    return schema if recipe.task is None else loose_schema(recipe.task, schema)


def prepare(
    recipe: Recipe, run: str, storage: Storage, *, show_progress: bool, features_of: str = ""
) -> Prepared:
    """Write the start folder and the feature caches of a run, or find them written.

    Args:
        recipe: The resolved recipe.
        run: The run folder, as ``Storage.resolve`` takes it.
        storage: Resolves the recipe's files and the run folder.
        show_progress: Draw bars on stderr.
        features_of: Folder whose feature caches are added to and used; empty: the run's.

    Raises:
        DataError: A file or row cannot be used.
        SourceError: The pretrained weights cannot be had.
        ConfigError: The recipe does not fit the weights or the rows.
    """
    start = _start(recipe, f"{run}/{runs.START}", storage)
    local_start = storage.fetch(start)
    splits = {"train": recipe.data.train, "dev": recipe.data.dev}
    requests = {
        split: _feature_request(recipe, storage.resolve(name), local_start)
        for split, name in splits.items()
        if name
    }
    return prepare_features(
        start, requests, features_of or run, storage, show_progress=show_progress
    )


def prepare_features(
    start: Location,
    requests: Mapping[str, FeatureRequest],
    run: str,
    storage: Storage,
    *,
    show_progress: bool,
) -> Prepared:
    """Build the feature caches of a run.

    Args:
        start: The run's start folder.
        requests: What to tokenize as ``train`` and, if there are any, as ``dev``.
        run: The run folder, as ``Storage.resolve`` takes it.
        storage: Resolves the run folder.
        show_progress: Draw bars on stderr.
    """
    places = {}
    digest = ""
    for split, request in requests.items():
        request = replace(request, measures=split == "dev")
        place, found = _features(request, f"{run}/{runs.FEATURES}", storage, show_progress)
        places[split] = place
        digest = digest or found
    return Prepared(start, places["train"], places.get("dev"), digest)


def _start(recipe: Recipe, target: str, storage: Storage) -> Location:
    location = storage.resolve(target)
    if storage.exists(target):
        return location
    pretrained = from_pretrained(pretrained_source(recipe.model.pretrained, storage))
    if recipe.model.num_layers:
        pretrained = keep_layers(pretrained, recipe.model.num_layers)
    task = _task(recipe, storage)
    if family_of(task).is_per_token:
        cut_to_characters(pretrained.tokenizer)
    if recipe.model.trim_vocabulary:
        pretrained = trim_vocabulary(pretrained, _training_texts(recipe, storage))
    spec = _start_spec(recipe, pretrained, task)
    folder = staging_path(location)
    folder.mkdir()
    try:
        write_start(folder, spec, pretrained)
        if recipe.model.warm_start:
            _warm_start(recipe, spec, pretrained, folder, storage)
        return storage.publish(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _warm_start(
    recipe: Recipe,
    spec: StartSpec,
    pretrained: PretrainedEncoder,
    folder: Path,
    storage: Storage,
) -> None:
    """Put chosen weights of another run into the start folder, with the report beside them."""
    shapes = {f"encoder.{name}": value.shape for name, value in pretrained.weights.items()}
    if spec.task.num_outputs:
        shapes["head.weight"] = (spec.network.hidden_size, spec.task.num_outputs)
        shapes["head.bias"] = (spec.task.num_outputs,)
    weights, report = choose_weights(
        pretrained_source(recipe.model.warm_start, storage),
        recipe.model.warm_start_pattern,
        shapes,
        folder / TOKENIZER,
    )
    write_warm_weights(folder, weights)
    (folder / runs.WARM_START).write_text(report.model_dump_json(indent=1), encoding="utf-8")


def pretrained_source(pretrained: str, storage: Storage) -> str:
    """Resolve a pretrained source: names stay as they are, folders are brought to this machine."""
    if "/" not in pretrained or (pretrained.count("/") == 1 and not storage.exists(pretrained)):
        return pretrained
    return str(storage.fetch(pretrained))


def _task(recipe: Recipe, storage: Storage) -> TaskSpec:
    if not needs_labels(recipe.task):
        return task_spec(recipe.task, ())
    labels = recipe.task.labels
    location = storage.resolve(recipe.data.train)
    if not labels:
        labels = collect_labels(location, row_schema(recipe), on_bad=recipe.data.bad_rows)
    try:
        return task_spec(recipe.task, labels)
    except ValueError as error:
        raise ConfigError(
            f"{location}: the rows have {len(labels)} label ({', '.join(labels)}); {error}: check "
            "data.label_column, or name all in task.labels"
        ) from error


def _start_spec(recipe: Recipe, pretrained: PretrainedEncoder, task: TaskSpec) -> StartSpec:
    model = recipe.model
    if model.max_tokens > pretrained.config.max_positions:
        raise ConfigError(
            f"model.max_tokens={model.max_tokens}, but {pretrained.source} has "
            f"{pretrained.config.max_positions} positions; choose at most that"
        )
    return StartSpec(
        task=task,
        network=pretrained.config,
        pooling=Pooling(model.pooling or pretrained.pooling),
        normalize=pretrained.normalize,
        text_prefix=pretrained.text_prefix if model.text_prefix is None else model.text_prefix,
        max_tokens=model.max_tokens,
        pretrained=pretrained.source,
    )


def _training_texts(recipe: Recipe, storage: Storage) -> Iterator[str]:
    reader = read_rows(
        storage.resolve(recipe.data.train), row_schema(recipe), on_bad=recipe.data.bad_rows
    )
    for row in reader:
        yield row.text
        if row.text_pair is not None:
            yield row.text_pair


def _feature_request(recipe: Recipe, location: Location, start: Path) -> FeatureRequest:
    spec = read_spec(start)
    return FeatureRequest(
        location=location,
        schema=row_schema(recipe),
        task=spec.task,
        tokenizer=start / TOKENIZER,
        max_tokens=spec.max_tokens,
        text_prefix=spec.text_prefix,
        on_bad=recipe.data.bad_rows,
    )


def _features(
    request: FeatureRequest, target: str, storage: Storage, show_progress: bool
) -> tuple[Location, str]:
    """Build a cache at its place; returns the place and the digest."""
    location = storage.resolve(target)
    if isinstance(location, Path):
        cache = build_feature_cache(request, cache_dir=location, show_progress=show_progress)
        return cache.path, cache.digest
    scratch = staging_path(location)
    try:
        cache = build_feature_cache(request, cache_dir=scratch, show_progress=show_progress)
        digest, name = cache.digest, f"{target}/{cache.path.name}"
        if not storage.exists(name):
            storage.publish(cache.path, name)
        return storage.resolve(name), digest
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
