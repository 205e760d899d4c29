"""The task of a model without a head: vectors are all it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import DataError


class Embedding:
    """Vectors only: no labels, no results, nothing to measure."""

    loss = "none"
    primary_metric = ""
    label_width = 0

    def label_of(self, label: str) -> NDArray[np.float32]:
        """Refuse: an embedding model is not trained on labels.

        Raises:
            DataError: Always.
        """
        raise DataError(f"label {label!r}: an embedding model has no labels; set task.family")

    def decode(self, logits: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Give an empty result per row."""
        return [{} for _ in range(len(logits))]

    def metrics(self, logits: NDArray[np.float32], labels: NDArray[np.float32]) -> dict[str, float]:
        """Give no metrics."""
        return {}
