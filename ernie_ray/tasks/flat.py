"""What the families share that answer once per text: each row is one example.

Dimension key: N rows, C task outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ernie_ray.modeldir import TaskSpec
from ernie_ray.tasks.example import NO_LABEL, Example, RowArrays
from ernie_ray.tasks.tables import Tables
from ernie_ray.text.features import TokenIds
from ernie_ray.text.row_schema import Row, RowSchema

S = TypeVar("S", bound=TaskSpec)


class Flat(ABC, Generic[S]):
    """One row, one example, one vector of outputs."""

    is_per_token = False
    takes_pairs = False
    ranks_by_query = False

    def __init__(self, spec: S) -> None:
        self.spec: S = spec

    @abstractmethod
    def label_of(self, label: str) -> NDArray[np.float32]:
        """Encode a row's label."""

    def row_schema(self, schema: RowSchema) -> RowSchema:
        """Leave the schema as it is."""
        return schema

    def note(self, row: Row, tokens: Sequence[TokenIds]) -> str:
        """Give no remark."""
        del row, tokens
        return ""

    def examples(self, row: Row, tokens: Sequence[TokenIds], *, measures: bool) -> list[Example]:
        """Encode the label beside the row's tokens; ``info`` is the query it is ranked by."""
        label = NO_LABEL if row.label is None else self.label_of(row.label)
        return [Example(tokens[0], label, (row.query or "") if measures else "")]

    def kept(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keep logits [N, C] as they are."""
        return logits

    def kept_shape(self, num_tokens: int) -> tuple[int, ...]:
        """[C]."""
        del num_tokens
        return (self.spec.num_outputs,)

    def tables(self, outputs: RowArrays, labels: RowArrays, infos: Sequence[str] = ()) -> Tables:
        """Give no table."""
        del outputs, labels, infos
        return Tables()

    def is_right(self, row: Row, result: Mapping[str, Any]) -> bool:
        """Call nothing wrong: a number is only more or less so."""
        del row, result
        return True

    def tuned(self, metrics: Mapping[str, float]) -> TaskSpec:
        """Tune nothing."""
        del metrics
        return self.spec
