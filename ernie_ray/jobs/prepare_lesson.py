"""Make what the workers of a Tiny student's training read: its start folder and its rows.

The rows keep their texts, since the teacher cuts them anew.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

from ernie_ray.config import LessonRecipe
from ernie_ray.jobs import runs
from ernie_ray.jobs.features import FeatureRequest
from ernie_ray.jobs.prepare import Prepared, prepare_features, row_schema
from ernie_ray.jobs.prepare_student import COPY_COLUMN
from ernie_ray.jobs.storage import Location, Storage, staging_path
from ernie_ray.modeldir import EmbeddingSpec, TaskSpec
from ernie_ray.modeldir.folder import TOKENIZER, read_manifest
from ernie_ray.models.pretrained import from_pretrained
from ernie_ray.models.start import StartSpec, read_spec, write_start
from ernie_ray.tasks.from_recipe import task_spec


def prepare_lesson(
    recipe: LessonRecipe, run: str, storage: Storage, *, show_progress: bool
) -> Prepared:
    """Write the start folder and the feature caches of a run, or find them written.

    Args:
        recipe: The resolved recipe.
        run: The run folder, as ``Storage.resolve`` takes it.
        storage: Resolves the recipe's files and the run folder.
        show_progress: Draw bars on stderr.

    Raises:
        DataError: A file or row cannot be used.
        ModelDirError: The model directory to start from is broken.
    """
    start = _start(recipe, f"{run}/{runs.START}", storage)
    folder = storage.fetch(start)
    spec = read_spec(folder)
    training = replace(
        row_schema(recipe),
        is_label_optional=True,
        teacher_logits=recipe.data.teacher_logits_column or None,
        copy=COPY_COLUMN,
    )
    splits = {"train": (recipe.data.train, training)}
    if recipe.data.dev:
        splits["dev"] = (recipe.data.dev, row_schema(recipe))
    requests = {
        split: FeatureRequest(
            location=storage.resolve(name),
            schema=schema,
            task=spec.task,
            tokenizer=folder / TOKENIZER,
            max_tokens=spec.max_tokens,
            text_prefix=spec.text_prefix,
            on_bad=recipe.data.bad_rows,
            has_texts=split == "train",
        )
        for split, (name, schema) in splits.items()
    }
    return prepare_features(start, requests, run, storage, show_progress=show_progress)


def _start(recipe: LessonRecipe, target: str, storage: Storage) -> Location:
    location = storage.resolve(target)
    if storage.exists(target):
        return location
    source = storage.fetch(recipe.model.start)
    pretrained = from_pretrained(str(source))
    spec = StartSpec(
        task=_task(recipe),
        network=pretrained.config,
        pooling=pretrained.pooling,
        normalize=pretrained.normalize,
        text_prefix=pretrained.text_prefix,
        max_tokens=read_manifest(source).input.max_tokens,
        pretrained=pretrained.source,
    )
    folder = staging_path(location)
    folder.mkdir()
    try:
        write_start(folder, spec, pretrained)
        return storage.publish(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _task(recipe: LessonRecipe) -> TaskSpec:
    return EmbeddingSpec() if recipe.task is None else task_spec(recipe.task, recipe.task.labels)
