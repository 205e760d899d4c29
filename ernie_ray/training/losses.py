"""Training losses by the name that a task family gives.

Each maps (logits, labels) of one micro-batch to the *sum* over its rows, so that micro-batches and
workers of any size add up to exactly the mean over the global batch.

Dimension key: B batch, C task outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle.nn import functional

Loss = Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]


def softmax_cross_entropy(logits_BC: paddle.Tensor, labels_B1: paddle.Tensor) -> paddle.Tensor:
    """Cross-entropy against class indices [B, 1] (float), summed over rows."""
    return functional.cross_entropy(logits_BC, labels_B1.astype("int64"), reduction="sum")


def sigmoid_cross_entropy(logits_BC: paddle.Tensor, labels_BC: paddle.Tensor) -> paddle.Tensor:
    """Binary cross-entropy against flags [B, C], averaged over classes, summed over rows."""
    loss_BC = functional.binary_cross_entropy_with_logits(logits_BC, labels_BC, reduction="none")
    return paddle.sum(paddle.mean(loss_BC, axis=1))


LOSSES: dict[str, Loss] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
}
