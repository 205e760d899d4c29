"""Correlations and ranking metrics, in numpy; degenerate input gives 0 and no warning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pearson(a: ArrayLike, b: ArrayLike) -> float:
    """Linear correlation of two sequences; 0 if one of them is constant or they are empty."""
    x, y = _centred(a), _centred(b)
    size = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / size, -1.0, 1.0)) if size > 0 else 0.0


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Correlation of the ranks of two sequences; ties share their mean rank."""
    return pearson(ranks(a), ranks(b))


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Rank of each value from 1 (smallest); equal values share the mean of their ranks."""
    array = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last: NDArray[np.float64] = np.cumsum(counts).astype(np.float64)
    return (last - (counts - 1) / 2)[inverse]


def ranking_metrics(
    queries: Sequence[str], scores: ArrayLike, relevance: ArrayLike, cutoffs: Sequence[int]
) -> dict[str, float]:
    """MRR, MAP and nDCG over queries that have a relevant candidate.

    Candidates are ordered by falling score; among equal scores the less relevant goes first, so
    that a constant score gains nothing from the order of the file. A candidate is relevant if its
    label is above 0. nDCG uses the gain 2^label - 1 and the discount log2(rank + 1) (Burges 2005).

    Args:
        queries: What each candidate belongs to.
        scores: One per candidate.
        relevance: Labels, one per candidate, 0 or more.
        cutoffs: The k of each nDCG@k.

    Returns:
        ``mrr``, ``map`` and ``ndcg@k``; all 0 if no query has a relevant candidate.
    """
    score, label = np.asarray(scores, np.float64), np.asarray(relevance, np.float64)
    groups: dict[str, list[int]] = {}
    for i, query in enumerate(queries):
        groups.setdefault(query, []).append(i)
    sums = np.zeros(2 + len(cutoffs))
    num_queries = 0
    for members in groups.values():
        own = label[members]
        ordered = own[np.lexsort((own, -score[members]))]
        if not (ordered > 0).any():
            continue
        num_queries += 1
        hits = np.flatnonzero(ordered > 0) + 1
        sums[0] += 1 / hits[0]
        sums[1] += np.mean(np.arange(1, len(hits) + 1) / hits)
        sums[2:] += [ndcg(ordered, k) for k in cutoffs]
    names = ["mrr", "map", *(f"ndcg@{k}" for k in cutoffs)]
    return dict(zip(names, (sums / max(num_queries, 1)).tolist(), strict=True))


def ndcg(ordered: NDArray[np.float64], k: int) -> float:
    """Gain of the first k labels over that of the best order; 0 if there is none to gain."""
    discount = 1 / np.log2(np.arange(2, min(k, len(ordered)) + 2))
    gain = 2.0**ordered - 1
    ideal = np.sort(gain)[::-1]
    best = float(ideal[:k] @ discount)
    return float(gain[:k] @ discount) / best if best > 0 else 0.0


def _centred(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or np.all(array == array[0]):
        return np.zeros_like(array)  # exactly, where subtracting a rounded mean might not be
    return np.asarray(array - array.mean())
