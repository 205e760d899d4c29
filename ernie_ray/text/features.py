"""Padded integer arrays: the only form in which text reaches a network.

Knows nothing of tokenizers or engines.

Dimension key: B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenIds:
    """One tokenized text (or pair), special tokens included, not padded.

    Attributes:
        input_ids: Vocabulary ids, one per token; a list or an integer array.
        token_type_ids: 0 for the first text, 1 for the second, one per token.
        is_truncated: True if tokens were dropped to keep the limit.
    """

    input_ids: Sequence[int] | NDArray[np.int64]
    token_type_ids: Sequence[int]
    is_truncated: bool = False

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class Window(TokenIds):
    """A tokenized text, or a part of a long one, that knows where each token stands.

    Attributes:
        offsets: Start and end of each token in ``text``, in Unicode characters; ``NO_PLACE`` for
            tokens that stand for no visible character of it.
        text: What results quote: the text itself, or the second text of a pair.
        is_first: False for the further windows of a long text, which follow their first one.
    """

    offsets: Sequence[tuple[int, int]] = ()
    text: str = ""
    is_first: bool = True


NO_PLACE = (-1, -1)


def is_first(row: TokenIds) -> bool:
    """Tell whether a row begins a new text; every row does that is no ``Window``."""
    return not isinstance(row, Window) or row.is_first


def rows_of_texts(rows: Sequence[TokenIds]) -> list[list[int]]:
    """List for each text the positions of its rows."""
    groups: list[list[int]] = []
    for i, row in enumerate(rows):
        if is_first(row):
            groups.append([])
        groups[-1].append(i)
    return groups


def flat_logits(logits: NDArray[np.float32], row: TokenIds) -> NDArray[np.float32]:
    """Give a row's logits [C], or [T, C] without its padding, as one sequence of numbers."""
    return (logits if logits.ndim == 1 else logits[: len(row)]).ravel()


@dataclass(frozen=True)
class FeatureBatch:
    """A padded batch; every array is int64 [batch, tokens].

    Attributes:
        input_ids: Vocabulary ids, padded at the end.
        token_type_ids: 0 or 1; 0 in the padding.
        attention_mask: 1 for tokens, 0 for padding.
    """

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])

    @property
    def num_padded_tokens(self) -> int:
        """What the batch costs: rows times the longest row."""
        return int(self.input_ids.size)


def pad_batch(rows: Sequence[TokenIds], *, pad_token_id: int) -> FeatureBatch:
    """Pad rows at their end to the longest one.

    Args:
        rows: At least one row.
        pad_token_id: Id that fills ``input_ids`` up.

    Returns:
        Arrays of shape [len(rows), longest row].
    """
    shape = (len(rows), max(len(row) for row in rows))
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    token_type_ids = np.zeros(shape, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    for i, row in enumerate(rows):
        n = len(row)
        input_ids[i, :n] = row.input_ids
        token_type_ids[i, :n] = row.token_type_ids
        attention_mask[i, :n] = 1
    return FeatureBatch(input_ids, token_type_ids, attention_mask)
