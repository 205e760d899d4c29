"""A recipe's ``task`` section as the description that a model directory carries."""

from __future__ import annotations

from dataclasses import replace

from ernie_ray.config import TaskSection
from ernie_ray.modeldir import (
    ClassificationSpec,
    PairSpec,
    ReadingSpec,
    TaskSpec,
    TokenLabelsSpec,
)
from ernie_ray.tasks.family import family_of
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.tags import tag_names


def needs_labels(task: TaskSection) -> bool:
    """True if the task's labels are names that a recipe lists or the rows have."""
    return task.family in ("classification", "token_labels")


def task_spec(task: TaskSection, labels: tuple[str, ...]) -> TaskSpec:
    """Describe the task.

    Args:
        task: The recipe's section.
        labels: Classes, or types of entities; not looked at where there are none.

    Raises:
        ValueError: There are too few labels.
    """
    match task.family:
        case "pair":
            return PairSpec(objective=task.objective, low=task.low, high=task.high)
        case "reading":
            return ReadingSpec(
                max_answer_tokens=task.max_answer_tokens, answerless_share=task.answerless_share
            )
        case "token_labels":
            if not labels:
                raise ValueError("a tagger needs a type of entity")
            return TokenLabelsSpec(labels=tag_names(labels, task.scheme), scheme=task.scheme)
        case _:
            if len(labels) < 2:
                raise ValueError("a classifier needs two")
            return ClassificationSpec(labels=labels, multi_label=task.multi_label)


def loose_schema(task: TaskSection, schema: RowSchema) -> RowSchema:
    """Say what the label column holds, before the labels themselves are known."""
    if task.family == "classification":
        return replace(schema, query=None, is_multi_label=task.multi_label)
    if task.family == "token_labels":
        return replace(schema, query=None, holds="entities")
    return family_of(task_spec(task, ())).row_schema(schema)
