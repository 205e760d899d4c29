"""What every kind of training run makes for its workers: a start folder and feature caches.

Each is written once per run, whole or not at all, where every worker can reach it. Which network
starts and which columns are read is for the kind of run to say.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ernie_ray.config import DistillRecipe, LessonRecipe, Recipe
from ernie_ray.errors import DataError
from ernie_ray.jobs import runs
from ernie_ray.jobs.features import (
    FeatureRequest,
    build_feature_cache,
    cache_name,
    feature_digest,
)
from ernie_ray.jobs.storage import Location, Storage, staging_path
from ernie_ray.modeldir.folder import TOKENIZER
from ernie_ray.models.start import SPEC, read_spec
from ernie_ray.tasks.from_recipe import loose_schema
from ernie_ray.text.cache import SUMMARY_FILE
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import files_of

SPLITS = ("train", "dev", "test")


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


def check_files(recipe: Recipe | DistillRecipe | LessonRecipe, storage: Storage) -> None:
    """Look for the recipe's files, so that a wrong name is an error before any work is done.

    Args:
        recipe: Names the files.
        storage: Resolves them.

    Raises:
        DataError: There is no file of a known format at one of the places.
    """
    schema = row_schema(recipe)
    for split in SPLITS:
        if name := getattr(recipe.data, split):
            try:
                files_of(storage.resolve(name), schema)
            except DataError as error:
                raise DataError(f"data.{split}: {error}") from error


def start_folder(run: str, storage: Storage, write: Callable[[Path], None]) -> Location:
    """Give a run's start folder.

    Args:
        run: The run folder, as ``Storage.resolve`` takes it.
        storage: Resolves the run folder.
        write: Fills the empty folder that it is given; not called if the start is there already.
    """
    target = f"{run}/{runs.START}"
    location = storage.resolve(target)
    if storage.exists(f"{target}/{SPEC}"):
        return location
    folder = staging_path(location)
    folder.mkdir()
    try:
        write(folder)
        return storage.publish(folder, target, last=SPEC)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def feature_caches(
    recipe: Recipe | DistillRecipe | LessonRecipe,
    start: Location,
    schemas: Mapping[str, RowSchema],
    run: str,
    storage: Storage,
    *,
    show_progress: bool,
    tokenizer: str = TOKENIZER,
    trains_on_texts: bool = False,
) -> Prepared:
    """Tokenize the training rows and, where the recipe names some, the dev rows.

    Args:
        recipe: Names the files.
        start: The run's start folder; it says how texts are cut and labels encoded.
        schemas: Columns of the ``train`` and of the ``dev`` rows.
        run: Folder whose feature caches are added to, as ``Storage.resolve`` takes it.
        storage: Resolves the files and the folder.
        show_progress: Draw bars on stderr.
        tokenizer: File of the start folder that cuts texts.
        trains_on_texts: Keep the training rows' texts beside their tokens.

    Raises:
        DataError: A file or row cannot be used.
    """
    folder = storage.fetch(start)
    spec = read_spec(folder)
    places: dict[str, Location] = {}
    digests: dict[str, str] = {}
    for split, name in (("train", recipe.data.train), ("dev", recipe.data.dev)):
        if not name:
            continue
        request = FeatureRequest(
            location=storage.resolve(name),
            schema=schemas[split],
            task=spec.task,
            tokenizer=folder / tokenizer,
            max_tokens=spec.max_tokens,
            text_prefix=spec.text_prefix,
            on_bad=recipe.data.bad_rows,
            measures=split == "dev",
            has_texts=trains_on_texts and split == "train",
        )
        places[split], digests[split] = _feature_cache(
            request, f"{run}/{runs.FEATURES}", storage, show_progress
        )
    return Prepared(start, places["train"], places.get("dev"), digests["train"])


def _feature_cache(
    request: FeatureRequest, target: str, storage: Storage, show_progress: bool
) -> tuple[Location, str]:
    """Build a cache at its place; returns the place and the digest."""
    location = storage.resolve(target)
    if isinstance(location, Path):
        cache = build_feature_cache(request, cache_dir=location, show_progress=show_progress)
        return cache.path, cache.digest
    digest = feature_digest(request)
    name = f"{target}/{cache_name(digest)}"
    if storage.exists(f"{name}/{SUMMARY_FILE}"):  # of an earlier attempt, or of another trial
        return storage.resolve(name), digest
    scratch = staging_path(location)
    try:
        cache = build_feature_cache(request, cache_dir=scratch, show_progress=show_progress)
        storage.publish(cache.path, name, last=SUMMARY_FILE)
        return storage.resolve(name), digest
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
