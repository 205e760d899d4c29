"""Choose which teacher-labelled rows are worth learning from: by confidence, and by class.

Pure functions over what a teacher answered. Rows that count as labelled are never left out; whether
an augmented copy does, the caller says.

Dimension key: N rows, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ernie_ray.tasks.classification import sigmoid, softmax


def confidence(logits: NDArray[np.float32], *, is_multi_label: bool) -> NDArray[np.float32]:
    """How sure the teacher is, [N]: its highest probability.

    With independent labels: the probability of the least certain of its answers.
    """
    if is_multi_label:
        chances = sigmoid(logits)
        surest: NDArray[np.float32] = np.maximum(chances, 1 - chances).min(axis=1)
        return surest
    highest: NDArray[np.float32] = softmax(logits).max(axis=1)
    return highest


def keep_confident(
    logits: NDArray[np.float32],
    is_labelled: NDArray[np.bool_],
    min_confidence: float,
    *,
    is_multi_label: bool = False,
) -> NDArray[np.bool_]:
    """Say which rows to keep, [N]: labelled ones, and those the teacher is sure of."""
    return is_labelled | (confidence(logits, is_multi_label=is_multi_label) >= min_confidence)


def keep_balanced(
    classes: NDArray[np.integer], is_labelled: NDArray[np.bool_], seed: int
) -> NDArray[np.bool_]:
    """Say which rows to keep so that the teacher gives every class equally often, [N].

    Among the rows that do not count as labelled each class that the teacher found keeps as many as
    the rarest of them has, drawn by ``seed``: keeping the surest would leave only easy texts.

    Args:
        classes: The teacher's first choices, [N].
        is_labelled: Rows that stay, [N].
        seed: Draws the rows of the larger classes.
    """
    free = np.flatnonzero(~is_labelled)
    found, counts = np.unique(classes[free], return_counts=True)
    keep = is_labelled.copy()
    rng = np.random.default_rng(seed)
    for number in found:
        members = free[classes[free] == number]
        keep[rng.permutation(members)[: counts.min()]] = True
    return keep
