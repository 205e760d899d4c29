"""Training losses by the name that a task family gives.

Each maps (logits, labels) of one micro-batch to the *sum* over its rows, so that micro-batches and
workers of any size add up to exactly the mean over the global batch.

Dimension key: B batch, C task outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle.nn import functional

from ernie_ray.text.cache import IGNORED

Loss = Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]


def softmax_cross_entropy(logits_BC: paddle.Tensor, labels_B1: paddle.Tensor) -> paddle.Tensor:
    """Cross-entropy against class indices [B, 1] (float), summed over rows."""
    return functional.cross_entropy(logits_BC, labels_B1.astype("int64"), reduction="sum")


def sigmoid_cross_entropy(logits_BC: paddle.Tensor, labels_BC: paddle.Tensor) -> paddle.Tensor:
    """Binary cross-entropy against flags [B, C], averaged over classes, summed over rows."""
    loss_BC = functional.binary_cross_entropy_with_logits(logits_BC, labels_BC, reduction="none")
    return paddle.sum(paddle.mean(loss_BC, axis=1))


def squared_error(outputs_B1: paddle.Tensor, labels_B1: paddle.Tensor) -> paddle.Tensor:
    """Squared difference to numbers [B, 1], summed over rows."""
    return paddle.sum((outputs_B1 - labels_B1) ** 2)


def token_cross_entropy(logits_BTC: paddle.Tensor, labels_BT: paddle.Tensor) -> paddle.Tensor:
    """Cross-entropy against a class per token [B, T] (float): mean over a row, summed over rows.

    Tokens labelled ``IGNORED`` do not count.
    """
    loss_BT = functional.cross_entropy(
        logits_BTC, labels_BT.astype("int64"), ignore_index=IGNORED, reduction="none"
    )
    is_counted_BT = (labels_BT != IGNORED).astype(logits_BTC.dtype)
    num_counted_B = paddle.clip(paddle.sum(is_counted_BT, axis=1), min=1.0)
    return paddle.sum(paddle.sum(paddle.reshape(loss_BT, labels_BT.shape), axis=1) / num_counted_B)


def span_cross_entropy(logits_BT2: paddle.Tensor, labels_B2: paddle.Tensor) -> paddle.Tensor:
    """Cross-entropy of first and last token [B, 2] (float), their mean, summed over rows.

    The network itself gives padding so low a logit that it takes no part.
    """
    labels = labels_B2.astype("int64")
    ends = [
        functional.cross_entropy(logits_BT2[:, :, i], labels[:, i : i + 1], reduction="sum")
        for i in range(2)
    ]
    return (ends[0] + ends[1]) / 2


LOSSES: dict[str, Loss] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "squared_error": squared_error,
    "token_cross_entropy": token_cross_entropy,
    "span_cross_entropy": span_cross_entropy,
}
