"""The one interface through which loop, jobs and service meet a task family.

Knows nothing of networks or of how logits are computed.

Dimension key: N rows, T tokens, C task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import ModelDirError
from ernie_ray.modeldir import (
    ClassificationSpec,
    EmbeddingSpec,
    PairSpec,
    ReadingSpec,
    TaskSpec,
    TokenLabelsSpec,
)
from ernie_ray.tasks.classification import Classification
from ernie_ray.tasks.embedding import Embedding
from ernie_ray.tasks.example import Example, RowArrays
from ernie_ray.tasks.pair import Pair
from ernie_ray.tasks.reading import Reading
from ernie_ray.tasks.tables import Tables
from ernie_ray.tasks.token_labels import TokenLabels
from ernie_ray.text.features import TokenIds
from ernie_ray.text.row_schema import Row, RowSchema


class TaskFamily(Protocol):
    """Behaviour of one task: rows in, results and metrics out."""

    loss: str
    """Name of the training loss (``ernie_ray.training.losses``)."""
    primary_metric: str
    """Metric of ``metrics`` by which the best checkpoint is chosen; larger is better."""
    metric_names: tuple[str, ...]
    """Metrics of ``metrics`` that a recipe may choose instead."""
    is_per_token: bool
    """True: texts are cut into windows, and logits are [N, T, C]."""
    takes_pairs: bool
    """True: every row must be a pair."""
    ranks_by_query: bool
    """True: metrics compare the rows of each query, so every measured row must name its query."""

    @property
    def label_width(self) -> int:
        """Numbers per row that encode its label; ``PER_TOKEN``; 0 for a task without labels."""

    def row_schema(self, schema: RowSchema) -> RowSchema:
        """Complete a schema with what the task knows of its labels."""

    def note(self, row: Row, tokens: Sequence[TokenIds]) -> str:
        """Say what is peculiar about a labelled row, for the counts of a summary; mostly empty.

        Args:
            row: Its text and label.
            tokens: What the task's cutter made of it.
        """

    def examples(self, row: Row, tokens: Sequence[TokenIds], *, measures: bool) -> list[Example]:
        """Encode a row that was cut into one window or more.

        Args:
            row: Its text and perhaps its label.
            tokens: What the task's cutter made of it.
            measures: Add the ``info`` that ``metrics`` needs, and leave no row out.

        Raises:
            DataError: The label is not one of the task's.
        """

    def decode(
        self, logits: NDArray[np.float32], rows: Sequence[TokenIds] = ()
    ) -> list[dict[str, Any]]:
        """Turn logits into one JSON-able result per text.

        Args:
            logits: [N, C], or [N, T, C] padded at the end.
            rows: What the logits are of; not needed by a family that is not per token.
        """

    def kept(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Reduce logits to what ``metrics`` needs of them, one array a row."""

    def kept_shape(self, num_tokens: int) -> tuple[int, ...]:
        """Shape of ``kept`` for one row of so many tokens."""

    def metrics(
        self,
        outputs: RowArrays,
        labels: RowArrays,
        infos: Sequence[str] = (),
    ) -> dict[str, float]:
        """Measure what ``kept`` gave, row by row in input order, against labels and infos."""

    def tables(self, outputs: RowArrays, labels: RowArrays, infos: Sequence[str] = ()) -> Tables:
        """Show where the model errs, from the same values as ``metrics``."""

    def is_right(self, row: Row, result: Mapping[str, Any]) -> bool:
        """Tell whether a result is what a labelled row says; for samples of errors."""

    def tuned(self, metrics: Mapping[str, float]) -> TaskSpec:
        """Give the task with what was tuned on the dev rows, from their metrics."""


def family_of(spec: TaskSpec) -> TaskFamily:
    """Give the behaviour of a task description.

    Raises:
        ModelDirError: This version reads the description but cannot run the task.
    """
    match spec:
        case ClassificationSpec():
            return Classification(spec)
        case PairSpec():
            return Pair(spec)
        case TokenLabelsSpec():
            return TokenLabels(spec)
        case ReadingSpec():
            return Reading(spec)
        case EmbeddingSpec():
            return Embedding()
    raise ModelDirError(
        f"task family {spec.family!r} cannot be run by this version of ernie-ray; upgrade it"
    )
