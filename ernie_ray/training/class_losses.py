"""Classification losses with label smoothing and class weights.

Dimension key: B batch, C classes.
"""

from __future__ import annotations

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle.nn import functional

from ernie_ray.config import TrainingSection
from ernie_ray.errors import ConfigError
from ernie_ray.text.cache import FeatureCache
from ernie_ray.training.losses import LOSSES, Loss


def loss_of(name: str, settings: TrainingSection, train: FeatureCache, num_classes: int) -> Loss:
    """Give the loss of a task, changed as the recipe says.

    Args:
        name: A key of ``LOSSES``.
        settings: ``label_smoothing`` and ``class_weights``.
        train: The training rows, from whose labels balanced weights are computed.
        num_classes: C.

    Raises:
        ConfigError: Smoothing or weights are asked of a task without exclusive classes.
    """
    if not settings.label_smoothing and settings.class_weights == "none":
        return LOSSES[name]
    if name != "softmax_cross_entropy":
        raise ConfigError(
            "training.label_smoothing and training.class_weights need a classification with one "
            "label per text; remove them"
        )
    weights_C = np.ones(num_classes, dtype=np.float32)
    if settings.class_weights == "balanced":
        weights_C = balanced_weights(train.labels(np.arange(len(train))), num_classes)
    return _smooth_cross_entropy(settings.label_smoothing, weights_C)


def balanced_weights(labels_N1: NDArray[np.float32], num_classes: int) -> NDArray[np.float32]:
    """Weigh each class by rows / (classes x its rows), as scikit-learn's "balanced"; 0 if empty."""
    counts = np.bincount(labels_N1.astype(np.int64).ravel(), minlength=num_classes)
    present = np.maximum(counts, 1) * np.count_nonzero(counts)
    return np.where(counts > 0, counts.sum() / present, 0.0).astype(np.float32)


def _smooth_cross_entropy(smoothing: float, weights_C: NDArray[np.float32]) -> Loss:
    """Cross-entropy against 1 - smoothing for the true class and smoothing / C for every one."""
    weights = paddle.to_tensor(weights_C)

    def loss(logits_BC: paddle.Tensor, labels_B1: paddle.Tensor) -> paddle.Tensor:
        classes_B = paddle.squeeze(labels_B1.astype("int64"), axis=1)
        truth_BC = functional.one_hot(classes_B, logits_BC.shape[1])
        target_BC = (1 - smoothing) * truth_BC + smoothing / logits_BC.shape[1]
        per_row_B = -paddle.sum(target_BC * functional.log_softmax(logits_BC, axis=-1), axis=1)
        return paddle.sum(per_row_B * paddle.gather(weights, classes_B))

    return loss
