"""Classification: one label a text, or any number of independent ones.

Dimension key: N rows, C classes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import DataError
from ernie_ray.modeldir import ClassificationSpec

# Below this, plain Python is several times faster for one text than numpy's five calls.
_MAX_CLASSES_IN_PYTHON = 16
_SEPARATOR = "|"
"""Stands between the labels of a multi-label row."""


class Classification:
    """Labels, results and metrics of a classifier."""

    def __init__(self, spec: ClassificationSpec) -> None:
        self.spec = spec
        self._index = {label: i for i, label in enumerate(spec.labels)}
        self.loss = "sigmoid_cross_entropy" if spec.multi_label else "softmax_cross_entropy"
        self.primary_metric = "micro_f1" if spec.multi_label else "accuracy"

    @property
    def label_width(self) -> int:
        """1 (the class index), or C (0 or 1 each) for multi-label."""
        return len(self.spec.labels) if self.spec.multi_label else 1

    def label_of(self, label: str) -> NDArray[np.float32]:
        """Encode a label; multi-label rows separate theirs by ``|`` and may be empty.

        Raises:
            DataError: A label is not one of the task's.
        """
        if not self.spec.multi_label:
            return np.array([self._class_index(label)], dtype=np.float32)
        flags = np.zeros(len(self.spec.labels), dtype=np.float32)
        for part in filter(None, label.split(_SEPARATOR)):
            flags[self._class_index(part)] = 1.0
        return flags

    def decode(self, logits: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Turn logits [N, C] into label(s) with probabilities."""
        if self.spec.multi_label:
            return [self._multi_result(row) for row in sigmoid(logits)]
        if len(logits) == 1 and logits.shape[1] <= _MAX_CLASSES_IN_PYTHON:
            return [self._result_of_one(logits[0].tolist())]
        return [self._single_result(row) for row in softmax(logits)]

    def metrics(self, logits: NDArray[np.float32], labels: NDArray[np.float32]) -> dict[str, float]:
        """Accuracy and F1 of logits [N, C] against encoded labels [N, label_width].

        Multi-label accuracy counts rows whose labels are all right. A class that neither the
        labels nor the predictions contain counts as F1 0 in ``macro_f1``, as in scikit-learn
        with ``zero_division=0``.
        """
        num_classes = len(self.spec.labels)
        if self.spec.multi_label:
            truth = labels.astype(bool)
            guess = logits > 0
        else:
            classes = np.arange(num_classes)
            truth = labels[:, :1].astype(np.int64) == classes
            guess = np.argmax(logits, axis=1)[:, None] == classes
        num_rows = max(len(truth), 1)
        both, either = (truth & guess).sum(axis=0), truth.sum(axis=0) + guess.sum(axis=0)
        f1 = 2 * both / np.maximum(either, 1)
        return {
            "accuracy": float((truth == guess).all(axis=1).sum() / num_rows),
            "macro_f1": float(f1.mean()),
            "micro_f1": float(2 * both.sum() / max(either.sum(), 1)),
        }

    def _class_index(self, label: str) -> int:
        try:
            return self._index[label]
        except KeyError:
            known = ", ".join(self.spec.labels[:20])
            raise DataError(f"label {label!r} is none of: {known}") from None

    def _single_result(self, probabilities: NDArray[np.float32]) -> dict[str, Any]:
        best = int(np.argmax(probabilities))
        return {
            "label": self.spec.labels[best],
            "score": float(probabilities[best]),
            "scores": dict(zip(self.spec.labels, probabilities.tolist(), strict=True)),
        }

    def _result_of_one(self, logits: list[float]) -> dict[str, Any]:
        highest = max(logits)
        shares = [math.exp(value - highest) for value in logits]
        total = sum(shares)
        probabilities = [share / total for share in shares]
        best = logits.index(highest)
        return {
            "label": self.spec.labels[best],
            "score": probabilities[best],
            "scores": dict(zip(self.spec.labels, probabilities, strict=True)),
        }

    def _multi_result(self, probabilities: NDArray[np.float32]) -> dict[str, Any]:
        scores = dict(zip(self.spec.labels, probabilities.tolist(), strict=True))
        return {"labels": [x for x, p in scores.items() if p > 0.5], "scores": scores}


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities over the last axis, computed without overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of each independent label, computed without overflow."""
    return np.exp(-np.logaddexp(0, -logits)).astype(np.float32)
