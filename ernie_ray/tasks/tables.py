"""Tables that show where a model errs: per class or type, and classes against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassLine:
    """One class or entity type.

    Attributes:
        label: Its name.
        precision: Share of its predictions that are right; 0 without any.
        recall: Share of its true cases that were found; 0 without any.
        f1: Their harmonic mean.
        support: True cases.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Tables:
    """What a family can show of its errors.

    Attributes:
        classes: One line per class or type; empty where there are none.
        confusion: Rows of class i that were given class j, [C][C]; empty unless each row has
            exactly one class.
    """

    classes: tuple[ClassLine, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = field(default=())


def class_line(label: str, right: int, wanted: int, found: int) -> ClassLine:
    """Count one class: true cases, predictions, and those that are both."""
    return ClassLine(
        label=label,
        precision=right / max(found, 1),
        recall=right / max(wanted, 1),
        f1=2 * right / max(wanted + found, 1),
        support=wanted,
    )


def class_tables(
    labels: Sequence[str],
    truth: NDArray[np.bool_],
    guess: NDArray[np.bool_],
    *,
    exclusive: bool,
) -> Tables:
    """Tables of which classes rows have and were given, two tables [N, C].

    Args:
        labels: Names of the classes.
        truth: What rows have.
        guess: What they were given.
        exclusive: Each row has exactly one; only then there is a confusion matrix.
    """
    counts = zip(
        labels,
        (truth & guess).sum(axis=0).tolist(),
        truth.sum(axis=0).tolist(),
        guess.sum(axis=0).tolist(),
        strict=True,
    )
    matrix = truth.T.astype(np.int64) @ guess.astype(np.int64)
    confusion = tuple(tuple(row) for row in matrix.tolist()) if exclusive else ()
    return Tables(tuple(class_line(*line) for line in counts), confusion)
