"""Put the answers of those texts that were run back among those that were refused.

Dimension key: N texts of the request, M of them run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import ErnieRayError
from ernie_ray.serving.ask import Result
from ernie_ray.text.features import TokenIds, Window, rows_of_texts


def scatter(result: Result, refused: Mapping[int, ErnieRayError], num_texts: int) -> Result:
    """Widen a result of M texts to the N of the request.

    Args:
        result: Answers of the texts that are not refused, in order.
        refused: Errors of the others by position.
        num_texts: N.

    Returns:
        The result with zeros (for token vectors: nothing) and an error where a text was refused.
    """
    kept = [i for i in range(num_texts) if i not in refused]
    vectors: NDArray[np.float32] | list[NDArray[np.float32]]
    if isinstance(result.vectors, list):
        vectors = [result.vectors[0][:0]] * num_texts
        for i, one in zip(kept, result.vectors, strict=True):
            vectors[i] = one
    else:
        vectors = _spread(result.vectors, kept, num_texts)
    logits, rows = result.logits, result.rows
    if rows and logits is not None:
        logits, rows = _with_empty_rows(logits, rows, kept, num_texts)
    elif logits is not None:
        logits = _spread(logits, kept, num_texts)
    return replace(
        result,
        rows=rows,
        vectors=vectors,
        logits=logits,
        errors={**refused, **{kept[i]: error for i, error in result.errors.items()}},
        truncated=[kept[i] for i in result.truncated],
    )


def _spread(rows: NDArray[np.float32], positions: list[int], num_texts: int) -> NDArray[np.float32]:
    wide = np.zeros((num_texts, *rows.shape[1:]), dtype=np.float32)
    wide[positions] = rows
    return wide


def _with_empty_rows(
    logits: NDArray[np.float32], rows: Sequence[TokenIds], kept: list[int], num_texts: int
) -> tuple[NDArray[np.float32], list[TokenIds]]:
    """Put a row without tokens, and logits of zero, where a text was refused."""
    groups = dict(zip(kept, rows_of_texts(rows), strict=True))
    nothing = np.zeros_like(logits[:1])
    parts = [logits[groups[i]] if i in groups else nothing for i in range(num_texts)]
    wide: list[TokenIds] = []
    for i in range(num_texts):
        wide += [rows[k] for k in groups[i]] if i in groups else [Window((), ())]
    return np.concatenate(parts), wide
