"""Pairs of texts to one number: how alike they are (regression), or how well one answers the other.

Dimension key: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.modeldir import PairSpec
from ernie_ray.tasks.classification import sigmoid
from ernie_ray.tasks.example import RowArrays
from ernie_ray.tasks.flat import Flat
from ernie_ray.tasks.ranks import pearson, ranking_metrics, spearman
from ernie_ray.text.features import TokenIds
from ernie_ray.text.row_schema import RowSchema

_CUTOFFS = (1, 3, 10)


class Pair(Flat[PairSpec]):
    """Labels, results and metrics of a regression or of a ranking.

    Labels are scaled to 0..1 for training. A ranking learns each pair by itself (pointwise, as the
    2019 kit did): cross-entropy between its score and its scaled label.
    """

    label_width = 1
    takes_pairs = True

    def __init__(self, spec: PairSpec) -> None:
        super().__init__(spec)
        is_ranking = spec.objective == "ranking"
        self.loss = "sigmoid_cross_entropy" if is_ranking else "squared_error"
        self.primary_metric = "mrr" if is_ranking else "spearman"
        self.metric_names: tuple[str, ...] = ("pearson", "spearman", "mean_squared_error")
        if is_ranking:
            self.metric_names = ("mrr", "map", *(f"ndcg@{k}" for k in _CUTOFFS))
        self.ranks_by_query = is_ranking

    def row_schema(self, schema: RowSchema) -> RowSchema:
        """Expect numbers between the task's bounds, and for a ranking the query of each row."""
        if schema.label is None:
            return replace(schema, query=None)
        query = schema.query if self.spec.objective == "ranking" else None
        return replace(schema, holds="number", low=self.spec.low, high=self.spec.high, query=query)

    def label_of(self, label: str) -> NDArray[np.float32]:
        """Scale a number to 0..1."""
        scaled = (float(label) - self.spec.low) / (self.spec.high - self.spec.low)
        return np.array([scaled], dtype=np.float32)

    def decode(
        self, logits: NDArray[np.float32], rows: Sequence[TokenIds] = ()
    ) -> list[dict[str, Any]]:
        """Turn logits [N, 1] into scores: on the labels' own scale, or 0..1 for a ranking."""
        return [{"score": float(score)} for score in self._scores(logits[:, 0])]

    def metrics(
        self,
        outputs: RowArrays,
        labels: RowArrays,
        infos: Sequence[str] = (),
    ) -> dict[str, float]:
        """Pearson, Spearman and mean squared error; or MRR, MAP and nDCG@k over the queries.

        A regression is measured by the scores that ``decode`` gives, clipped to the bounds.
        In a ranking a candidate is as relevant as its label is above ``low``.
        """
        logits = np.asarray(outputs, dtype=np.float32).reshape(-1)
        scaled = np.asarray(labels, dtype=np.float32).reshape(-1).astype(np.float64)
        above_low = scaled * (self.spec.high - self.spec.low)
        if self.spec.objective == "ranking":
            # The lowest label means "not relevant", whatever number it is, and is 0 exactly here.
            return ranking_metrics(list(infos), logits, above_low, _CUTOFFS)
        truth = above_low + self.spec.low
        scores = self._scores(logits).astype(np.float64)
        error = float(np.mean((scores - truth) ** 2)) if len(truth) else 0.0
        return {
            "pearson": pearson(scores, truth),
            "spearman": spearman(scores, truth),
            "mean_squared_error": error,
        }

    def _scores(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.spec.objective == "ranking":
            return sigmoid(logits)
        return self.spec.low + (self.spec.high - self.spec.low) * np.clip(logits, 0.0, 1.0)
