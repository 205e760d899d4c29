"""A sample of the rows that a model gets wrong: the first wrong ones, or those furthest off.

What is right or wrong the families say; a number is only more or less so.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

from ernie_ray.modeldir import PairSpec, TaskSpec
from ernie_ray.tasks.family import family_of
from ernie_ray.text.row_schema import Row


class WrongRows:
    """Takes rows with their results one by one and keeps a few."""

    def __init__(self, task: TaskSpec, max_rows: int) -> None:
        """Begin with none.

        Args:
            task: The task of the model that gave the results.
            max_rows: Most rows that are kept.
        """
        self._task = task
        self._family = family_of(task)
        self._max_rows = max_rows
        # A heap by error, the smallest first, and of equal errors the later row first.
        self._kept: list[tuple[float, int, dict[str, Any]]] = []
        self._num_seen = 0

    def take(self, row: Row, result: Mapping[str, Any]) -> None:
        """Look at a labelled row and what the model gave for it."""
        self._num_seen += 1
        if isinstance(self._task, PairSpec):
            error = _distance(self._task, float(row.label or "nan"), result["score"])
            entry = (error, -self._num_seen, _record(row, result) | {"error": error})
            keep = heapq.heappush if len(self._kept) < self._max_rows else heapq.heappushpop
            keep(self._kept, entry)
        elif len(self._kept) < self._max_rows and not self._family.is_right(row, result):
            self._kept.append((0.0, -self._num_seen, _record(row, result)))

    def records(self) -> tuple[dict[str, Any], ...]:
        """Give the kept rows, each with its label and result: the worst first, else in order."""
        return tuple(record for _, _, record in sorted(self._kept, key=lambda e: (-e[0], -e[1])))


def _distance(task: PairSpec, label: float, score: float) -> float:
    """Tell how far a score is from a label, on the scale of the score."""
    if task.objective == "ranking":  # scores are 0..1 whatever the labels are
        label = (label - task.low) / (task.high - task.low)
    return abs(score - label)


def _record(row: Row, result: Mapping[str, Any]) -> dict[str, Any]:
    texts = {"text": row.text, **({"text_pair": row.text_pair} if row.text_pair else {})}
    return {"row": row.origin, **texts, "label": row.label, "result": dict(result)}
