"""Run one batch and keep what fails to the rows that fail.

Runs in an engine thread; knows neither queues nor the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import InferenceError
from ernie_ray.inference.text_model import Outputs, TextModel
from ernie_ray.text.features import TokenIds

RowResult = tuple[NDArray[np.float32], NDArray[np.float32] | None] | InferenceError

# Alone, too, failed: after this many in a row the engine is at fault, not a text.
_MAX_SINGLE_FAILURES = 2


def run_batch(model: TextModel, rows: Sequence[TokenIds]) -> list[RowResult]:
    """Run one batch; what fails is an error of its row only.

    A batch holds texts of several clients, so that one bad text must not fail the others: after a
    failure each row runs alone, until rows that fail alone show that the engine itself is broken.

    Returns:
        Per row its vector [H] and logits [C] (None without a head), or its error.
    """
    try:
        return _split(model.forward(rows), len(rows))
    except Exception as error:  # whatever the engine raises
        if len(rows) == 1:
            return [InferenceError(f"the engine failed: {error}")]
    results: list[RowResult] = []
    num_failures = 0
    for row in rows:
        if num_failures == _MAX_SINGLE_FAILURES:
            results += [InferenceError("the engine fails on every text")] * (
                len(rows) - len(results)
            )
            break
        results += run_batch(model, [row])
        num_failures = num_failures + 1 if isinstance(results[-1], InferenceError) else 0
    return results


def _split(outputs: Outputs, num_rows: int) -> list[RowResult]:
    vectors, logits = outputs.vectors, outputs.logits
    if len(vectors) != num_rows or (logits is not None and len(logits) != num_rows):
        raise InferenceError(f"{len(vectors)} vectors for {num_rows} texts")
    is_finite = np.asarray(np.isfinite(vectors).all(axis=1))
    if logits is not None:
        is_finite &= np.asarray(np.isfinite(logits).reshape(num_rows, -1).all(axis=1))
    return [
        (vectors[i], None if logits is None else logits[i])
        if ok
        else InferenceError("the model gave NaN or infinite values for this text")
        for i, ok in enumerate(is_finite.tolist())
    ]
