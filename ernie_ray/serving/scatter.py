"""Put the answers of those texts that were run back among those that were refused.

Dimension key: N texts of the request, M of them run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import ErnieRayError
from ernie_ray.serving.ask import Result


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
    logits = None if result.logits is None else _spread(result.logits, kept, num_texts)
    return replace(
        result,
        vectors=vectors,
        logits=logits,
        errors={**refused, **{kept[i]: error for i, error in result.errors.items()}},
        truncated=[kept[i] for i in result.truncated],
    )


def _spread(rows: NDArray[np.float32], positions: list[int], num_texts: int) -> NDArray[np.float32]:
    wide = np.zeros((num_texts, *rows.shape[1:]), dtype=np.float32)
    wide[positions] = rows
    return wide
