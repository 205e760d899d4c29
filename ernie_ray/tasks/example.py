"""What a row becomes for training and measuring: token ids, an encoded label, and a remark.

Dimension key: N rows, T tokens, C task outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ernie_ray.text.cache import PER_TOKEN
from ernie_ray.text.features import TokenIds, rows_of_texts
from ernie_ray.text.row_schema import Row
from ernie_ray.text.tokenizer import Text

__all__ = ["NO_LABEL", "PER_TOKEN", "Example", "RowArrays", "text_of", "texts_with_rows"]

RowArrays = Sequence[NDArray[np.float32]] | NDArray[np.float32]
"""One array per row: a list of them, or one table."""

NO_LABEL: NDArray[np.float32] = np.empty(0, dtype=np.float32)


@dataclass(frozen=True)
class Example:
    """One line of a feature cache.

    Attributes:
        tokens: A whole text, or a window of it.
        label: float32 [label_width], or one number per token; empty for a row without a label.
        info: What the family's metrics need beside the label, as the family writes it.
    """

    tokens: TokenIds
    label: NDArray[np.float32] = field(default_factory=lambda: NO_LABEL)
    info: str = ""


def text_of(row: Row) -> Text:
    """The text or pair that a model reads."""
    return row.text if row.text_pair is None else (row.text, row.text_pair)


def texts_with_rows(
    rows: Sequence[Row], tokens: Sequence[TokenIds]
) -> list[tuple[Row, list[TokenIds]]]:
    """Pair each row with what a cutter made of its text, in order."""
    groups = rows_of_texts(tokens)
    return [(row, [tokens[i] for i in group]) for row, group in zip(rows, groups, strict=True)]
