"""What the loop minimises: one sum over the rows of a micro-batch."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import paddle
from numpy.typing import NDArray

from ernie_ray.text.cache import FeatureCache
from ernie_ray.training.losses import Loss


class Objective(Protocol):
    """Loss of a network's logits on some rows of a cache."""

    def __call__(
        self, logits: paddle.Tensor, cache: FeatureCache, indices: NDArray[np.int64], epoch: int
    ) -> paddle.Tensor:
        """Sum the loss over rows, so that micro-batches and workers of any size add up.

        Args:
            logits: Of these rows [rows, outputs].
            cache: Holds what they should be.
            indices: The rows' positions in the cache.
            epoch: From 0.
        """


class LabelObjective:
    """The task family's loss against the rows' labels."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(
        self, logits: paddle.Tensor, cache: FeatureCache, indices: NDArray[np.int64], epoch: int
    ) -> paddle.Tensor:
        """Sum the loss over rows; see ``Objective``."""
        del epoch
        return self._loss(logits, paddle.to_tensor(cache.labels(indices)))
