"""The one interface through which loop, jobs and service meet a task family.

Knows nothing of networks or of how logits are computed.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import ModelDirError
from ernie_ray.modeldir import ClassificationSpec, EmbeddingSpec, TaskSpec
from ernie_ray.tasks.classification import Classification
from ernie_ray.tasks.embedding import Embedding


class TaskFamily(Protocol):
    """Behaviour of one task: labels in, results and metrics out."""

    loss: str
    """Name of the training loss (``ernie_ray.training.losses``)."""
    primary_metric: str
    """Metric of ``metrics`` by which the best checkpoint is chosen; larger is better."""

    @property
    def label_width(self) -> int:
        """Numbers per row that ``label_of`` gives; 0 for a task without labels."""

    def label_of(self, label: str) -> NDArray[np.float32]:
        """Encode a row's label as ``label_width`` numbers.

        Raises:
            DataError: The label is not one of the task's.
        """

    def decode(self, logits: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Turn logits [rows, outputs] into one JSON-able result per row."""

    def metrics(self, logits: NDArray[np.float32], labels: NDArray[np.float32]) -> dict[str, float]:
        """Measure logits [rows, outputs] against labels [rows, label_width]."""


def family_of(spec: TaskSpec) -> TaskFamily:
    """Give the behaviour of a task description.

    Raises:
        ModelDirError: This version reads the description but cannot run the task.
    """
    if isinstance(spec, ClassificationSpec):
        return Classification(spec)
    if isinstance(spec, EmbeddingSpec):
        return Embedding()
    raise ModelDirError(
        f"task family {spec.family!r} cannot be run by this version of ernie-ray; upgrade it"
    )
