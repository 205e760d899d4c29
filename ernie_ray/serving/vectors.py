"""Finish vectors: cut, scale, encode.

Dimension key: N texts, T tokens, H numbers per vector.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32] | list[NDArray[np.float32]]


def finish(vectors: Vectors, *, normalize: bool, dimensions: int | None) -> Vectors:
    """Cut vectors to their first numbers, then scale each to length 1.

    Args:
        vectors: [N, H], or N arrays [T, H].
        normalize: Scale; a zero vector stays zero.
        dimensions: Numbers to keep; None: all.
    """
    if isinstance(vectors, list):
        return [_finish(one, normalize, dimensions) for one in vectors]
    return _finish(vectors, normalize, dimensions)


def encode(vectors: Vectors, *, as_base64: bool, failed: Sequence[int] = ()) -> Any:
    """Vectors as JSON can hold them; None for texts that failed.

    Args:
        vectors: [N, H], or N arrays [T, H].
        as_base64: Little-endian float32 bytes in base64 instead of numbers.
        failed: Positions of texts without a vector.
    """
    encoded: list[Any]
    if as_base64:
        encoded = [base64.b64encode(one.astype("<f4", copy=False).data).decode() for one in vectors]
    elif failed:
        encoded = list(vectors)
    else:
        return vectors
    for i in failed:
        encoded[i] = None
    return encoded


def _finish(
    vectors: NDArray[np.float32], normalize: bool, dimensions: int | None
) -> NDArray[np.float32]:
    vectors = vectors[:, :dimensions]
    if normalize:
        length = np.sqrt(np.einsum("nh,nh->n", vectors, vectors))[:, None]
        vectors = vectors / np.maximum(length, np.finfo(np.float32).tiny)
    return np.ascontiguousarray(vectors)
