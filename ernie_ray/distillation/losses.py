"""Losses between a student's and a teacher's logits.

Each maps one micro-batch to one loss *per row*, so that the caller weighs rows and sums.

Dimension key: B batch, C classes.
"""

from __future__ import annotations

import paddle
from paddle.nn import functional


def soft_cross_entropy(
    student_BC: paddle.Tensor, teacher_BC: paddle.Tensor, temperature: float
) -> paddle.Tensor:
    """Cross-entropy of the student's softened probabilities against the teacher's, [B].

    Times the temperature squared, so that gradients keep their size when it changes (Hinton,
    Vinyals, Dean 2015, section 2). The kit's loss is this one at temperature 1.
    """
    soft_BC = functional.softmax(teacher_BC / temperature, axis=-1)
    log_BC = functional.log_softmax(student_BC / temperature, axis=-1)
    return -paddle.sum(soft_BC * log_BC, axis=-1) * temperature**2


def soft_binary_cross_entropy(
    student_BC: paddle.Tensor, teacher_BC: paddle.Tensor, temperature: float
) -> paddle.Tensor:
    """The same for independent labels: binary cross-entropy, averaged over classes, [B]."""
    soft_BC = functional.sigmoid(teacher_BC / temperature)
    loss_BC = functional.binary_cross_entropy_with_logits(
        student_BC / temperature, soft_BC, reduction="none"
    )
    return paddle.mean(loss_BC, axis=-1) * temperature**2


def logit_mse(student_BC: paddle.Tensor, teacher_BC: paddle.Tensor) -> paddle.Tensor:
    """Squared difference of the logits, averaged over classes, [B] (Tang et al. 2019)."""
    return paddle.mean(paddle.square(student_BC - teacher_BC), axis=-1)


def hard_cross_entropy(student_BC: paddle.Tensor, labels_B1: paddle.Tensor) -> paddle.Tensor:
    """Cross-entropy against class indices [B, 1] (float), [B]."""
    loss_B1 = functional.cross_entropy(student_BC, labels_B1.astype("int64"), reduction="none")
    return paddle.reshape(loss_B1, [-1])


def hard_binary_cross_entropy(student_BC: paddle.Tensor, labels_BC: paddle.Tensor) -> paddle.Tensor:
    """Binary cross-entropy against flags [B, C], averaged over classes, [B]."""
    loss_BC = functional.binary_cross_entropy_with_logits(student_BC, labels_BC, reduction="none")
    return paddle.mean(loss_BC, axis=-1)
