"""Gather the answers of one call, whose texts may run in several batches.

Knows neither queues nor engines.

Dimension key: N texts of a request, H numbers per vector, C task outputs, T tokens of a text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import InferenceError
from ernie_ray.inference.batch_run import RowResult
from ernie_ray.inference.layer_pooling import VectorChoice
from ernie_ray.text.features import TokenIds


@dataclass(frozen=True)
class Answers:
    """What one request gets.

    Attributes:
        vectors: Before any scaling, float32 [N, H]; the rows of failed texts are zero. For token
            vectors a list of N arrays [T, H] instead, empty ones for failed texts.
        logits: Raw task outputs, float32 [N, C], or [N, T, C] padded at the end for a task that
            answers per token; None without a head. Failed rows are zero.
        errors: The failed texts by position.
        queue_s: Seconds from the call until the first of its texts ran.
        forward_s: Seconds from then until its last text was done.
    """

    vectors: NDArray[np.float32] | list[NDArray[np.float32]]
    logits: NDArray[np.float32] | None
    errors: Mapping[int, InferenceError]
    queue_s: float
    forward_s: float


class PendingAnswers:
    """The answers of one call while they come in."""

    __slots__ = (
        "_done_s",
        "_num_open",
        "_results",
        "_started_s",
        "asked_s",
        "choice",
        "done",
        "rows",
    )

    def __init__(
        self,
        rows: Sequence[TokenIds],
        choice: VectorChoice | None,
        done: asyncio.Future[None],
    ) -> None:
        """Wait for one result per row.

        Args:
            rows: Texts of the call.
            choice: Which vector each gets; None: the model's own.
            done: Set when the last result is in.
        """
        self.rows = rows
        self.choice = choice
        self.done = done
        self._results: list[RowResult | None] = [None] * len(rows)
        self._num_open = len(rows)
        self.asked_s = time.monotonic()
        self._started_s = self._done_s = 0.0

    def start(self, now_s: float) -> None:
        """Note when the first of the texts ran."""
        self._started_s = self._started_s or now_s

    def take(self, index: int, result: RowResult, now_s: float) -> None:
        """Accept the result of one text."""
        self._results[index] = result
        self._num_open -= 1
        if not self._num_open and not self.done.done():
            self._done_s = now_s
            self.done.set_result(None)

    def gather(self, vector_size: int, num_outputs: int) -> Answers:
        """All results in order, once ``done`` is set.

        Args:
            vector_size: H, for rows that failed.
            num_outputs: C, 0 without a head.
        """
        errors = {i: r for i, r in enumerate(self._results) if isinstance(r, InferenceError)}
        good = {i: r for i, r in enumerate(self._results) if isinstance(r, tuple)}
        num_rows = len(self._results)
        # Per token, each row comes as long as the longest one of the batch that it ran in.
        per_token = [row for _, row in good.values() if row is not None and row.ndim == 2]
        longest = (max(map(len, per_token)),) if per_token else ()
        shape = (num_rows, *longest, num_outputs)
        logits = np.zeros(shape, dtype=np.float32) if num_outputs else None
        vectors: NDArray[np.float32] | list[NDArray[np.float32]]
        if self.choice is not None and self.choice.per_token:
            nothing = np.zeros((0, vector_size), dtype=np.float32)
            vectors = [good[i][0] if i in good else nothing for i in range(num_rows)]
        else:
            vectors = np.zeros((num_rows, vector_size), dtype=np.float32)
            for i, (vector, _) in good.items():
                vectors[i] = vector
        if logits is not None:
            for i, (_, row) in good.items():
                if row is not None:
                    logits[i, : len(row)] = row
        queue_s, forward_s = self._started_s - self.asked_s, self._done_s - self._started_s
        return Answers(vectors, logits, errors, queue_s, forward_s)
