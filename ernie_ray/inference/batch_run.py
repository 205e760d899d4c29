"""Run one batch and keep what fails to the rows that fail.

Runs in an engine thread; knows neither queues nor the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import InferenceError
from ernie_ray.inference.layer_pooling import VectorChoice, pool_text
from ernie_ray.inference.text_model import Outputs, TextModel
from ernie_ray.text.features import TokenIds

RowResult = tuple[NDArray[np.float32], NDArray[np.float32] | None] | InferenceError

# Alone, too, failed: after this many in a row the engine is at fault, not a text.
_MAX_SINGLE_FAILURES = 2


def run_batch(
    model: TextModel, rows: Sequence[TokenIds], choices: Sequence[VectorChoice | None]
) -> list[RowResult]:
    """Run one batch; what fails is an error of its row only.

    A batch holds texts of several clients, so that one bad text must not fail the others: after a
    failure each row runs alone, until rows that fail alone show that the engine itself is broken.

    Args:
        model: Its ``forward`` is called.
        rows: Texts of the batch.
        choices: Which vector each row gets; None: the model's own.

    Returns:
        Per row its vector [H] (token vectors [T, H]) and logits [C] (None without a head), or its
        error.
    """
    try:
        return _split(model.forward(rows), rows, choices)
    except Exception as error:  # whatever the engine raises
        if len(rows) == 1:
            return [InferenceError(f"the engine failed: {error}")]
    results: list[RowResult] = []
    num_failures = 0
    for row, choice in zip(rows, choices, strict=True):
        if num_failures == _MAX_SINGLE_FAILURES:
            results += [InferenceError("the engine fails on every text")] * (
                len(rows) - len(results)
            )
            break
        results += run_batch(model, [row], [choice])
        num_failures = num_failures + 1 if isinstance(results[-1], InferenceError) else 0
    return results


def _split(
    outputs: Outputs, rows: Sequence[TokenIds], choices: Sequence[VectorChoice | None]
) -> list[RowResult]:
    vectors, logits = outputs.vectors, outputs.logits
    if len(vectors) != len(rows) or (logits is not None and len(logits) != len(rows)):
        raise InferenceError(f"{len(vectors)} vectors for {len(rows)} texts")
    is_finite = np.asarray(np.isfinite(vectors).all(axis=1))
    if logits is not None:
        is_finite &= np.asarray(np.isfinite(logits).reshape(len(rows), -1).all(axis=1))
    results: list[RowResult] = []
    for i, (row, choice, ok) in enumerate(zip(rows, choices, is_finite.tolist(), strict=True)):
        vector = vectors[i]
        if choice is not None and ok:
            vector = pool_text(outputs.states, i, len(row), choice)
            ok = bool(np.isfinite(vector).all())
        if ok:
            results.append((vector, None if logits is None else logits[i]))
        else:
            message = "the model gave NaN or infinite values for this text"
            results.append(InferenceError(message))
    return results
