"""Losses between a student's and a teacher's insides, in units that both cuts of a text share.

Each maps one micro-batch to one loss *per row*. Widths and numbers of heads may differ.

Dimension key: B rows, U units, T tokens, W width, R relation heads.
"""

from __future__ import annotations

import paddle
from paddle.nn import functional

# Added to the scores of padding, as in the encoder's own attention.
_MASKED_SCORE = -1e4


def relation_scores(
    units_BUW: paddle.Tensor, mask_BU: paddle.Tensor, num_heads: int
) -> paddle.Tensor:
    """How much each unit relates to each other one, before the softmax, [B, R, U, U].

    MiniLMv2's self-attention relations (arXiv 2012.15828, equation 7): the width is split anew into
    ``num_heads`` parts, so that networks of any width give tables of one shape.
    """
    batch, num_units, width = units_BUW.shape
    split_BURW = paddle.reshape(units_BUW, [batch, num_units, num_heads, width // num_heads])
    split_BRUW = paddle.transpose(split_BURW, [0, 2, 1, 3])
    scores = paddle.matmul(split_BRUW, split_BRUW, transpose_y=True)
    masked_B11U = paddle.unsqueeze((1.0 - mask_BU) * _MASKED_SCORE, [1, 2])
    return scores * (width // num_heads) ** -0.5 + masked_B11U


def relation_divergence(
    student_BUW: paddle.Tensor, teacher_BUW: paddle.Tensor, mask_BU: paddle.Tensor, num_heads: int
) -> paddle.Tensor:
    """KL divergence of the student's relations from the teacher's, [B].

    Args:
        student_BUW: Queries, keys or values of a layer, pooled over units.
        teacher_BUW: The same of the teacher; the width may differ.
        mask_BU: 1 for units, 0 for padding.
        num_heads: Divides both widths.

    Returns:
        The mean over units and relation heads (equation 8 of MiniLMv2).
    """
    student = functional.log_softmax(relation_scores(student_BUW, mask_BU, num_heads), axis=-1)
    teacher = functional.log_softmax(relation_scores(teacher_BUW, mask_BU, num_heads), axis=-1)
    each_BRU = paddle.sum(paddle.exp(teacher) * (teacher - student), axis=-1)
    return _mean_over_units(paddle.mean(each_BRU, axis=1), mask_BU)


def state_error(
    student_BUW: paddle.Tensor, teacher_BUW: paddle.Tensor, mask_BU: paddle.Tensor
) -> paddle.Tensor:
    """Squared error of pooled states over the teacher's mean square, [B].

    Relative, so that one weight suits teachers whose states are large or small.
    """
    error_BU = paddle.mean(paddle.square(student_BUW - teacher_BUW), axis=-1)
    scale_BU = paddle.mean(paddle.square(teacher_BUW), axis=-1)
    return _mean_over_units(error_BU, mask_BU) / _mean_over_units(scale_BU, mask_BU)


def _mean_over_units(values_BU: paddle.Tensor, mask_BU: paddle.Tensor) -> paddle.Tensor:
    return paddle.sum(values_BU * mask_BU, axis=1) / paddle.sum(mask_BU, axis=1)
