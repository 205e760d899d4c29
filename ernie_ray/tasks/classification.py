"""Classification: one label a text, or any number of independent ones.

Dimension key: N rows, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import DataError
from ernie_ray.modeldir import ClassificationSpec
from ernie_ray.tasks.example import RowArrays
from ernie_ray.tasks.flat import Flat
from ernie_ray.tasks.tables import Tables, class_tables
from ernie_ray.text.features import TokenIds
from ernie_ray.text.row_schema import Row, RowSchema, split_labels

# Below this, plain Python is several times faster for one text than numpy's five calls.
_MAX_CLASSES_IN_PYTHON = 16


class Classification(Flat[ClassificationSpec]):
    """Labels, results and metrics of a classifier of texts or pairs."""

    def __init__(self, spec: ClassificationSpec) -> None:
        super().__init__(spec)
        self._index = {label: i for i, label in enumerate(spec.labels)}
        self.loss = "sigmoid_cross_entropy" if spec.multi_label else "softmax_cross_entropy"
        self.primary_metric = "micro_f1" if spec.multi_label else "accuracy"
        self.metric_names: tuple[str, ...] = ("accuracy", "macro_f1", "micro_f1")
        if self._has_positive:
            self.metric_names += ("positive_f1",)

    @property
    def _has_positive(self) -> bool:
        return len(self.spec.labels) == 2 and not self.spec.multi_label

    @property
    def label_width(self) -> int:
        """1 (the class index), or C (0 or 1 each) for multi-label."""
        return len(self.spec.labels) if self.spec.multi_label else 1

    def row_schema(self, schema: RowSchema) -> RowSchema:
        """Name the known labels, so that unknown ones are found in reading."""
        if schema.label is None:
            return schema
        return replace(schema, labels=self.spec.labels, is_multi_label=self.spec.multi_label)

    def label_of(self, label: str) -> NDArray[np.float32]:
        """Encode a label; multi-label rows separate theirs by ``|`` and may be empty.

        Raises:
            DataError: A label is not one of the task's.
        """
        if not self.spec.multi_label:
            return np.array([self._class_index(label)], dtype=np.float32)
        flags = np.zeros(len(self.spec.labels), dtype=np.float32)
        for part in split_labels(label):
            flags[self._class_index(part)] = 1.0
        return flags

    def decode(
        self, logits: NDArray[np.float32], rows: Sequence[TokenIds] = ()
    ) -> list[dict[str, Any]]:
        """Turn logits [N, C] into label(s) with probabilities."""
        if self.spec.multi_label:
            return [self._multi_result(row) for row in sigmoid(logits)]
        if len(logits) == 1 and logits.shape[1] <= _MAX_CLASSES_IN_PYTHON:
            return [self._result_of_one(logits[0].tolist())]
        return [self._single_result(row) for row in softmax(logits)]

    def metrics(
        self,
        outputs: RowArrays,
        labels: RowArrays,
        infos: Sequence[str] = (),
    ) -> dict[str, float]:
        """Accuracy and F1 of logits [N, C] against encoded labels [N, label_width].

        Multi-label accuracy counts rows whose labels are all right. A class that neither the
        labels nor the predictions contain counts as F1 0 in ``macro_f1``, as in scikit-learn
        with ``zero_division=0``. ``positive_f1``, with two classes, is the F1 of the last one
        (``1`` of 0 and 1): what counts where one class is rare, as in matching.
        """
        truth, guess = self.flags(outputs, labels)
        num_rows = max(len(truth), 1)
        both, either = (truth & guess).sum(axis=0), truth.sum(axis=0) + guess.sum(axis=0)
        f1 = 2 * both / np.maximum(either, 1)
        found = {
            "accuracy": float((truth == guess).all(axis=1).sum() / num_rows),
            "macro_f1": float(f1.mean()),
            "micro_f1": float(2 * both.sum() / max(either.sum(), 1)),
        }
        if self._has_positive:
            found["positive_f1"] = float(f1[1])
        return found

    def tables(self, outputs: RowArrays, labels: RowArrays, infos: Sequence[str] = ()) -> Tables:
        """Give each class its line and, with one label a row, the confusion matrix."""
        truth, guess = self.flags(outputs, labels)
        return class_tables(self.spec.labels, truth, guess, exclusive=not self.spec.multi_label)

    def is_right(self, row: Row, result: Mapping[str, Any]) -> bool:
        """Compare the label, or the set of labels."""
        if self.spec.multi_label:
            return set(result["labels"]) == set(split_labels(row.label or ""))
        return bool(result["label"] == row.label)

    def flags(
        self, outputs: RowArrays, labels: RowArrays
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which classes each row has, and which it was given: two tables [N, C]."""
        num_classes = len(self.spec.labels)
        logits = np.asarray(outputs, dtype=np.float32).reshape(-1, num_classes)
        encoded = np.asarray(labels, dtype=np.float32).reshape(-1, self.label_width)
        if self.spec.multi_label:
            return encoded.astype(bool), logits > 0
        classes = np.arange(num_classes)
        truth = encoded.astype(np.int64) == classes
        return truth, np.argmax(logits, axis=1)[:, None] == classes

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
