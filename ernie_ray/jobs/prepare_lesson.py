"""Make what the workers of a Tiny student's training read: its start folder and its rows.

The rows keep their texts, since the teacher cuts them anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ernie_ray.config import LessonRecipe
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.worker_inputs import (
    Prepared,
    feature_caches,
    row_schema,
    start_folder,
)
from ernie_ray.modeldir import EmbeddingSpec, TaskSpec
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.models.pretrained import from_pretrained
from ernie_ray.models.start import StartSpec, write_start
from ernie_ray.tasks.from_recipe import task_spec
from ernie_ray.text.row_schema import COPY_COLUMN


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
    start = start_folder(run, storage, lambda folder: _write_start(recipe, folder, storage))
    schema = row_schema(recipe)
    training = replace(
        schema,
        is_label_optional=True,
        query=None,  # each row is learnt by itself, whatever it is ranked by
        teacher_logits=recipe.data.teacher_logits_column or None,
        copy=COPY_COLUMN,
    )
    return feature_caches(
        recipe,
        start,
        {"train": training, "dev": schema},
        run,
        storage,
        show_progress=show_progress,
        trains_on_texts=True,
    )


def _write_start(recipe: LessonRecipe, folder: Path, storage: Storage) -> None:
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
    write_start(folder, spec, pretrained)


def _task(recipe: LessonRecipe) -> TaskSpec:
    return EmbeddingSpec() if recipe.task is None else task_spec(recipe.task, recipe.task.labels)
