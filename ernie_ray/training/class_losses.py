"""Cross-entropy with label smoothing and class weights, for texts and for tokens.

Dimension key: B batch, T tokens, C classes, N rows or tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle.nn import functional

from ernie_ray.config import TrainingSection
from ernie_ray.errors import ConfigError
from ernie_ray.modeldir import ClassificationSpec, TaskSpec, TokenLabelsSpec
from ernie_ray.text.cache import IGNORED, FeatureCache
from ernie_ray.training.losses import LOSSES, Loss

RowLoss = Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]


def loss_of(name: str, settings: TrainingSection, train: FeatureCache, task: TaskSpec) -> Loss:
    """Give the loss of a task, changed as the recipe says.

    Args:
        name: A key of ``LOSSES``.
        settings: ``label_smoothing`` and ``class_weights``.
        train: The training rows, from whose labels balanced weights are computed.
        task: Names the classes.

    Raises:
        ConfigError: Smoothing or weights are asked of a task without exclusive classes, or weights
            of a class that it has not.
    """
    row_loss = row_loss_of(settings, train, task)
    if row_loss is None:
        return LOSSES[name]
    return _token_loss(row_loss) if isinstance(task, TokenLabelsSpec) else _text_loss(row_loss)


def row_loss_of(settings: TrainingSection, train: FeatureCache, task: TaskSpec) -> RowLoss | None:
    """Give cross-entropy with what ``loss_of`` changes, of logits [N, C] and labels [N, 1]: [N].

    None: the recipe changes nothing.
    """
    if not settings.changes_class_loss:
        return None
    if isinstance(task, TokenLabelsSpec) or (
        isinstance(task, ClassificationSpec) and not task.multi_label
    ):
        weights_C = _class_weights(settings, train, task.labels)
        return _smooth_cross_entropy(settings.label_smoothing, weights_C)
    raise ConfigError(
        "training.label_smoothing and training.class_weights need a task with one class per text "
        "or token; remove them"
    )


def balanced_weights(labels: NDArray[np.float32], num_classes: int) -> NDArray[np.float32]:
    """Weigh each class by rows / (classes x its rows), as scikit-learn's "balanced"; 0 if empty.

    Args:
        labels: Class indices of any shape; NaN (no label) and ``IGNORED`` do not count.
        num_classes: C.
    """
    known = labels[np.isfinite(labels) & (labels != IGNORED)]
    counts = np.bincount(known.astype(np.int64), minlength=num_classes)
    present = np.maximum(counts, 1) * np.count_nonzero(counts)
    return np.where(counts > 0, counts.sum() / present, 0.0).astype(np.float32)


def _class_weights(
    settings: TrainingSection, train: FeatureCache, names: tuple[str, ...]
) -> NDArray[np.float32]:
    wanted = settings.class_weights
    if isinstance(wanted, str):
        if wanted == "none":
            return np.ones(len(names), dtype=np.float32)
        # A copy's label may no longer hold, and would count a row several times.
        weights_C = balanced_weights(train.labels(np.flatnonzero(train.copies == 0)), len(names))
        if not weights_C.any():
            raise ConfigError(
                "training.class_weights=balanced needs labelled rows, and the training rows have "
                "none; set it to none, or give a table of classes and weights"
            )
        return weights_C
    if unknown := sorted(wanted.keys() - set(names)):
        raise ConfigError(
            f"training.class_weights: no class is called {', '.join(unknown)}; "
            f"there are: {', '.join(names)}"
        )
    return np.array([wanted.get(name, 1.0) for name in names], dtype=np.float32)


def _smooth_cross_entropy(smoothing: float, weights_C: NDArray[np.float32]) -> RowLoss:
    """Cross-entropy against 1 - smoothing for the true class and smoothing / C for every one."""
    weights = paddle.to_tensor(weights_C)

    def loss(logits_NC: paddle.Tensor, labels_N1: paddle.Tensor) -> paddle.Tensor:
        classes_N = paddle.squeeze(labels_N1.astype("int64"), axis=1)
        truth_NC = functional.one_hot(classes_N, logits_NC.shape[1])
        target_NC = (1 - smoothing) * truth_NC + smoothing / logits_NC.shape[1]
        loss_N = -paddle.sum(target_NC * functional.log_softmax(logits_NC, axis=-1), axis=1)
        return loss_N * paddle.gather(weights, classes_N)

    return loss


def _text_loss(row_loss: RowLoss) -> Loss:
    return lambda logits_BC, labels_B1: paddle.sum(row_loss(logits_BC, labels_B1))


def _token_loss(row_loss: RowLoss) -> Loss:
    """Mean over a row's labelled tokens, summed over rows, as ``losses.token_cross_entropy``."""

    def loss(logits_BTC: paddle.Tensor, labels_BT: paddle.Tensor) -> paddle.Tensor:
        is_counted_BT = (labels_BT != IGNORED).astype(logits_BTC.dtype)
        flat_labels = paddle.reshape(labels_BT * is_counted_BT, [-1, 1])
        flat_logits = paddle.reshape(logits_BTC, [-1, logits_BTC.shape[-1]])
        loss_BT = paddle.reshape(row_loss(flat_logits, flat_labels), labels_BT.shape)
        num_counted_B = paddle.clip(paddle.sum(is_counted_BT, axis=1), min=1.0)
        return paddle.sum(paddle.sum(loss_BT * is_counted_BT, axis=1) / num_counted_B)

    return loss
