"""Make what a student's training workers read: vocabulary, start folder and feature caches.

The vocabulary is built from the training rows as they were given, without their augmented copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ernie_ray.config import DistillRecipe, StudentSection, TaskSection, explain
from ernie_ray.errors import ConfigError, DataError
from ernie_ray.jobs.features import collect_labels
from ernie_ray.jobs.labelled_rows import read_labelled_manifest
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.worker_inputs import (
    Prepared,
    feature_caches,
    row_schema,
    start_folder,
)
from ernie_ray.modeldir import (
    BowConfig,
    ClassificationSpec,
    CnnConfig,
    LstmConfig,
    StudentConfig,
    TaskSpec,
)
from ernie_ray.modeldir.folder import VOCABULARY
from ernie_ray.models.start import StartSpec, write_student_start
from ernie_ray.text.row_schema import COPY_COLUMN, RowSchema
from ernie_ray.text.rows import files_of, has_column, read_rows
from ernie_ray.text.student_vocabulary import VocabularySettings, build_vocabulary


def student_row_schema(recipe: DistillRecipe) -> RowSchema:
    """Columns of the training rows: labels and teacher logits are optional in each."""
    data = recipe.data
    return RowSchema(
        text=data.text_column,
        text_pair=data.text_pair_column or None,
        label=data.label_column,
        is_multi_label=recipe.task.multi_label,
        is_label_optional=bool(data.teacher_logits_column),
        teacher_logits=data.teacher_logits_column or None,
        copy=COPY_COLUMN,
        header=data.columns,
    )


def prepare_student(
    recipe: DistillRecipe, run: str, storage: Storage, *, show_progress: bool
) -> Prepared:
    """Write the start folder and the feature caches of a student's run, or find them written.

    Args:
        recipe: The resolved recipe.
        run: The run folder, as ``Storage.resolve`` takes it.
        storage: Resolves the recipe's files and the run folder.
        show_progress: Draw bars on stderr.

    Raises:
        DataError: A file or row cannot be used.
        ConfigError: The recipe does not fit the rows.
    """
    start = start_folder(run, storage, lambda folder: write_first_student(recipe, folder, storage))
    return feature_caches(
        recipe,
        start,
        {"train": student_row_schema(recipe), "dev": row_schema(recipe)},
        run,
        storage,
        show_progress=show_progress,
        tokenizer=VOCABULARY,
    )


def write_first_student(recipe: DistillRecipe, folder: Path, storage: Storage) -> None:
    """Fill a start folder: vocabulary, network and task.

    Raises:
        DataError: A file or row cannot be used.
        ConfigError: The recipe does not make a network, or contradicts the teacher's task.
    """
    student = recipe.student
    _refuse_unknown_logits(recipe, storage)
    vocabulary = build_vocabulary(vocabulary_settings(student), _texts(recipe, storage))
    spec = StartSpec(
        task=_task(recipe, storage),
        network=student_network(recipe, vocabulary.size),
        pooling=None,
        normalize=False,
        text_prefix="",
        max_tokens=student.max_tokens,
        pretrained="",
        embedding_std=student.embedding_std,
        token_dropout=student.token_dropout,
    )
    write_student_start(folder, spec, vocabulary)


def _refuse_unknown_logits(recipe: DistillRecipe, storage: Storage) -> None:
    # Rows may lack logits, so with a wrong name the labels alone would be learnt.
    schema = student_row_schema(recipe)
    if schema.teacher_logits is None:
        return
    location = storage.resolve(recipe.data.train)
    if not has_column(files_of(location, schema), schema.teacher_logits, schema.header):
        raise DataError(
            f"{location}: no row has the column '{schema.teacher_logits}'; give rows that "
            "`ernie-ray label` wrote, correct data.teacher_logits_column, or set it to '' to learn "
            "from labels alone"
        )


def vocabulary_settings(student: StudentSection) -> VocabularySettings:
    """Give what a recipe says of a student's vocabulary."""
    return VocabularySettings(
        kind=student.vocabulary,
        max_pieces=student.max_pieces,
        max_texts=student.max_texts,
        min_count=student.min_count,
        lowercase=student.lowercase,
        orders=student.ngram_orders,
        bucket_bits=student.bucket_bits,
    )


def student_network(
    recipe: DistillRecipe, vocab_size: int, section: str = "student"
) -> StudentConfig:
    """Describe the network that a recipe asks for.

    Args:
        recipe: The resolved recipe.
        vocab_size: Ids of the vocabulary.
        section: Where its settings stand, as errors name it.

    Raises:
        ConfigError: The settings do not make a network.
    """
    student = recipe.student
    settings: dict[str, Any] = {
        "vocab_size": vocab_size,
        "embedding_size": student.embedding_size,
        "is_pair": bool(recipe.data.text_pair_column),
        "squash": student.squash,
        "hidden_sizes": student.hidden_sizes,
        "dense_activation": student.dense_activation,
        **({"pooling": student.pooling} if student.pooling else {}),
    }
    try:
        if student.kind == "bow":
            return BowConfig(**settings)
        if student.kind == "cnn":
            return CnnConfig(
                **settings,
                widths=student.widths,
                num_filters=student.num_filters,
                activation=student.activation,
            )
        return LstmConfig(
            **settings, num_units=student.num_units, is_bidirectional=student.is_bidirectional
        )
    except ValidationError as error:
        raise ConfigError(explain(error, section)) from error


def _task(recipe: DistillRecipe, storage: Storage) -> ClassificationSpec:
    """Classes in the order of the teacher's logits, if there are any."""
    wanted, location = recipe.task, storage.resolve(recipe.data.train)
    labels = wanted.labels
    if recipe.data.teacher_logits_column:
        manifest = read_labelled_manifest(storage, recipe.data.train)
        if manifest is not None:
            return _teachers_task(manifest.task, wanted, str(location))
        if not labels:
            raise ConfigError(
                f"{location}: nothing says in which order the teacher's logits stand; give the "
                "folder that `ernie-ray label` wrote, or name the classes in task.labels"
            )
    elif not labels:
        labels = collect_labels(location, row_schema(recipe), on_bad=recipe.data.bad_rows)
    return ClassificationSpec(labels=labels, multi_label=wanted.multi_label)


def _teachers_task(task: TaskSpec, wanted: TaskSection, location: str) -> ClassificationSpec:
    """Give the task of the teacher that labelled the rows, if the recipe does not contradict it."""
    if not isinstance(task, ClassificationSpec):
        raise ConfigError(
            f"{location}: the teacher's task is {task.family}, and students answer with classes; "
            "distil a classifier, or set data.teacher_logits_column='' and learn from labels"
        )
    if task.multi_label != wanted.multi_label:
        have = "independent labels" if task.multi_label else "one class per text"
        raise ConfigError(
            f"{location}: the teacher answers with {have}; "
            f"set task.multi_label={str(task.multi_label).lower()}"
        )
    if wanted.labels and wanted.labels != task.labels:
        raise ConfigError(
            f"{location}: the teacher's logits are of {', '.join(task.labels)}, in this order, and "
            f"task.labels has {', '.join(wanted.labels)}; leave task.labels out"
        )
    return task


def _texts(recipe: DistillRecipe, storage: Storage) -> Iterator[str]:
    location = storage.resolve(recipe.data.train)
    for row in read_rows(location, student_row_schema(recipe), on_bad=recipe.data.bad_rows):
        if row.copy == 0:
            yield row.text
            if row.text_pair is not None:
                yield row.text_pair
