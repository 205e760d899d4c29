"""The task of a model without a head: vectors are all it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import DataError
from ernie_ray.modeldir import EmbeddingSpec
from ernie_ray.tasks.example import RowArrays
from ernie_ray.tasks.flat import Flat
from ernie_ray.text.features import TokenIds


class Embedding(Flat[EmbeddingSpec]):
    """Vectors only: no labels, no results, nothing to measure."""

    loss = "none"
    primary_metric = ""
    metric_names: tuple[str, ...] = ()
    label_width = 0

    def __init__(self, spec: EmbeddingSpec | None = None) -> None:
        super().__init__(spec or EmbeddingSpec())

    def label_of(self, label: str) -> NDArray[np.float32]:
        """Refuse: an embedding model is not trained on labels.

        Raises:
            DataError: Always.
        """
        raise DataError(f"label {label!r}: an embedding model has no labels; set task.family")

    def decode(
        self, logits: NDArray[np.float32], rows: Sequence[TokenIds] = ()
    ) -> list[dict[str, Any]]:
        """Give an empty result per row."""
        return [{} for _ in range(len(logits))]

    def metrics(
        self,
        outputs: RowArrays,
        labels: RowArrays,
        infos: Sequence[str] = (),
    ) -> dict[str, float]:
        """Give no metrics."""
        return {}
