"""What a student minimises: the teacher's logits and the hard labels, weighed row by row.

Knows the feature cache and the losses; not the loop that calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import paddle
from numpy.typing import NDArray

from ernie_ray.config import DistillationSection
from ernie_ray.distillation.losses import (
    hard_binary_cross_entropy,
    hard_cross_entropy,
    logit_mse,
    soft_binary_cross_entropy,
    soft_cross_entropy,
)
from ernie_ray.errors import ConfigError
from ernie_ray.modeldir import ClassificationSpec, PairSpec, TaskSpec
from ernie_ray.text.cache import FeatureCache
from ernie_ray.training.class_losses import RowLoss


class DistillationObjective:
    """Sum over a micro-batch of (1 - w) x soft + w x hard, with a weight w per row."""

    def __init__(
        self,
        settings: DistillationSection,
        task: TaskSpec,
        first_hard_epoch: int,
        hard_loss: RowLoss | None = None,
    ) -> None:
        """Settle the losses.

        Args:
            settings: Loss, temperature and weight.
            task: Has one answer per text: classes, or one number.
            first_hard_epoch: From this epoch on labelled rows count with their labels alone.
            hard_loss: Of the labels, in place of the task's: smoothed, or with class weights.

        Raises:
            ConfigError: The task answers per token, or not at all.
        """
        self._settings = settings
        plain_hard_loss, self._soft_loss = _losses_of(task, settings)
        self._hard_loss = hard_loss or plain_hard_loss
        self._first_hard_epoch = first_hard_epoch

    def __call__(
        self, logits: paddle.Tensor, cache: FeatureCache, indices: NDArray[np.int64], epoch: int
    ) -> paddle.Tensor:
        """Sum the loss over rows; see ``Objective``."""
        return self.against(logits, cache.teacher_logits(indices), cache, indices, epoch)

    def is_hard(self, epoch: int) -> bool:
        """Tell whether labels alone count in this epoch."""
        return epoch >= self._first_hard_epoch

    def against(
        self,
        logits: paddle.Tensor,
        teacher: NDArray[np.float32],
        cache: FeatureCache,
        indices: NDArray[np.int64],
        epoch: int,
    ) -> paddle.Tensor:
        """Sum the loss over rows for a teacher's logits [rows, outputs] from anywhere."""
        labels = cache.labels(indices)
        if not teacher.shape[1]:
            teacher = np.full((len(indices), logits.shape[1]), np.nan, dtype=np.float32)
        weights = hard_weights(
            labels,
            teacher,
            cache.copies[indices] > 0,
            self._settings.hard_weight,
            is_hard_epoch=self.is_hard(epoch),
        )
        hard_B, soft_B = self._hard(logits, labels), self._soft(logits, teacher)
        hard_part = paddle.sum(hard_B * paddle.to_tensor(weights[0]))
        return hard_part + paddle.sum(soft_B * paddle.to_tensor(weights[1]))

    def _hard(self, logits: paddle.Tensor, labels: NDArray[np.float32]) -> paddle.Tensor:
        if not labels.shape[1]:
            return paddle.zeros([len(labels)])
        return self._hard_loss(logits, paddle.to_tensor(np.nan_to_num(labels)))

    def _soft(self, logits: paddle.Tensor, teacher: NDArray[np.float32]) -> paddle.Tensor:
        return self._soft_loss(logits, paddle.to_tensor(np.nan_to_num(teacher)))


def _losses_of(task: TaskSpec, settings: DistillationSection) -> tuple[RowLoss, RowLoss]:
    """Losses of logits against labels and against a teacher's logits."""
    if isinstance(task, PairSpec) and task.objective == "regression":
        # The output is a number, not the logit of a chance: nothing to soften.
        return logit_mse, logit_mse
    hard: RowLoss
    soft: Callable[..., paddle.Tensor]
    if isinstance(task, PairSpec) or (isinstance(task, ClassificationSpec) and task.multi_label):
        hard, soft = hard_binary_cross_entropy, soft_binary_cross_entropy
    elif isinstance(task, ClassificationSpec):
        hard, soft = hard_cross_entropy, soft_cross_entropy
    else:
        raise ConfigError(
            f"a teacher's logits are learnt for classes and pairs, not for {task.family}; distil "
            "on text of any kind instead, and fine-tune what comes out"
        )
    if settings.loss == "mse":
        return hard, logit_mse
    return hard, partial(soft, temperature=settings.temperature)


def hard_weights(
    labels: NDArray[np.float32],
    teacher: NDArray[np.float32],
    is_copy: NDArray[np.bool_],
    hard_weight: float,
    *,
    is_hard_epoch: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weigh each row's hard and soft loss.

    Args:
        labels: Encoded labels [rows, width], NaN where a row has none; width 0: none has any.
        teacher: Teacher logits [rows, classes], NaN where a row has none.
        is_copy: Augmented copies [rows].
        hard_weight: Share of the hard loss in rows that have both.
        is_hard_epoch: Labelled rows count with their labels alone.

    Returns:
        Weights of the hard and of the soft loss, each [rows].
    """
    has_label = np.isfinite(labels).all(axis=1) if labels.shape[1] else np.zeros(len(labels), bool)
    has_teacher = np.isfinite(teacher).all(axis=1)
    share = np.float32(1.0 if is_hard_epoch else hard_weight)
    uses_label = has_label & ~(is_copy & has_teacher)
    hard = np.where(uses_label, np.where(has_teacher, share, np.float32(1)), np.float32(0))
    return hard.astype(np.float32), np.where(has_teacher, 1 - hard, 0).astype(np.float32)
