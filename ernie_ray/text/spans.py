"""Align two cuts of one text by its characters, and pool token states over what both share.

Two tokenizers put different tokens at the same position, so positions mean nothing. What both cuts
share are edges between characters. A *unit* is a smallest span of text whose two edges are edges of
both cuts: every token of either cut lies in one unit or in none.

Dimension key: B rows, U units, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ernie_ray.text.tokenizer import Text, TextTokenizer
from ernie_ray.text.windows import visible_places

OUTSIDE = -1
"""The unit of a token that lies in none."""

Offsets = Sequence[tuple[int, int]]
Units = NDArray[np.int64]


@dataclass(frozen=True)
class TokenPlaces:
    """Where the tokens of one row stand.

    Attributes:
        input_ids: One id per token, special tokens included.
        token_type_ids: One per token.
        offsets: Start and end in the first and in the second text of the row, one list of all
            tokens each; ``NO_PLACE`` for a token that shows no character of that text.
    """

    input_ids: Sequence[int]
    token_type_ids: Sequence[int]
    offsets: tuple[Offsets, Offsets]

    def __len__(self) -> int:
        return len(self.input_ids)


class PlacingTokenizer(TextTokenizer):
    """Cuts like any ``TextTokenizer`` and tells where each token stands; a prefix has no place."""

    def place(self, texts: Sequence[Text]) -> list[TokenPlaces]:
        """Cut texts or (text, text_pair) tuples; one row each."""
        pairs = [(text, None) if isinstance(text, str) else text for text in texts]
        inputs = [self._input(text) for text in texts]
        rows = []
        for (first, second), encoding in zip(
            pairs, self._tokenizer.encode_batch(inputs), strict=True
        ):
            in_first, in_second = (
                visible_places([encoding], text, i, len(self._text_prefix))[0]
                for i, text in enumerate((first, second or ""))
            )
            rows.append(TokenPlaces(encoding.ids, encoding.type_ids, (in_first, in_second)))
        return rows


def shared_units(ours: Offsets, theirs: Offsets) -> tuple[Units, Units, int]:
    """Find the unit of each token of two cuts of one text.

    A unit counts if tokens of both cuts cover it from its first visible character to its last; so
    what only one cut shows, or shows in part because it ends there, is left out.

    Args:
        ours: Start and end of each token of the one cut, or ``NO_PLACE``.
        theirs: The same of the other cut.

    Returns:
        For each of our and of their tokens its unit, counted from 0 in the order of the text, or
        ``OUTSIDE``; and the number of units.
    """
    one, other = (np.asarray(side, np.int64).reshape(-1, 2) for side in (ours, theirs))
    length = int(max(one.max(initial=0), other.max(initial=0)))
    # A boundary between characters is no edge while any token reaches across it.
    crossing = np.zeros(length + 2, np.int64)
    for side in (one, other):
        start, end = side[side[:, 0] >= 0].T
        np.add.at(crossing, start + 1, 1)
        np.add.at(crossing, end, -1)
    span_of_character = np.cumsum(np.cumsum(crossing)[: length + 1] == 0)
    spans = [_spans_of(side, span_of_character) for side in (one, other)]
    reach = [_reach(side, span, length + 2) for side, span in zip((one, other), spans, strict=True)]
    is_unit = (reach[0] == reach[1]).all(axis=1) & (reach[0][:, 1] > 0)
    number = np.where(is_unit, np.cumsum(is_unit) - 1, OUTSIDE)
    first, second = (np.where(span >= 0, number[span], OUTSIDE) for span in spans)
    return first, second, int(is_unit.sum())


def _spans_of(side: NDArray[np.int64], span_of_character: NDArray[np.int64]) -> Units:
    start = side[:, 0]
    return np.where(start >= 0, span_of_character[np.maximum(start, 0)], OUTSIDE)


def _reach(side: NDArray[np.int64], span: Units, num_spans: int) -> NDArray[np.int64]:
    """First and last character that a cut's tokens show of each span, [spans, 2]."""
    reach = np.tile(np.array([np.iinfo(np.int64).max, 0]), (num_spans, 1))
    placed = span >= 0
    np.minimum.at(reach[:, 0], span[placed], side[placed, 0])
    np.maximum.at(reach[:, 1], span[placed], side[placed, 1])
    return reach


def align(ours: TokenPlaces, theirs: TokenPlaces) -> tuple[Units, Units, int]:
    """Find the units of two cuts of one row.

    The first tokens of both, which hold no text but stand for the whole row (``[CLS]``, ``<s>``),
    are unit 0; then come the units of the first text and of the second.
    """
    result = [np.full(len(row), OUTSIDE, np.int64) for row in (ours, theirs)]
    for units in result:
        units[0] = 0
    total = 1
    for mine, other in zip(ours.offsets, theirs.offsets, strict=True):
        *found, num_units = shared_units(mine, other)
        for units, new in zip(result, found, strict=True):
            units[new >= 0] = new[new >= 0] + total
        total += num_units
    return result[0], result[1], total


def pooling_matrix(units: Units, num_units: int) -> NDArray[np.float32]:
    """Give the matrix [U, T] that averages token states over each unit.

    Args:
        units: Unit of each token, or ``OUTSIDE``.
        num_units: Rows of the matrix; each unit has a token.
    """
    matrix = (units == np.arange(num_units)[:, None]).astype(np.float32)
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)


@dataclass(frozen=True)
class AlignedBatch:
    """Pooling of a padded batch of two cuts.

    Attributes:
        ours: Averages our token states over units, [B, U, our T].
        theirs: The same for their token states, [B, U, their T].
        mask: 1 for units, 0 for padding, [B, U].
    """

    ours: NDArray[np.float32]
    theirs: NDArray[np.float32]
    mask: NDArray[np.float32]


def align_batch(ours: Sequence[TokenPlaces], theirs: Sequence[TokenPlaces]) -> AlignedBatch:
    """Align the rows of a batch; matrices are padded with zeros as ``pad_batch`` pads tokens."""
    aligned = [align(*rows) for rows in zip(ours, theirs, strict=True)]
    most = max(num_units for _, _, num_units in aligned)
    shapes = [(len(aligned), most, max(map(len, rows))) for rows in (ours, theirs)]
    matrices = [np.zeros(shape, np.float32) for shape in shapes]
    mask = np.zeros((len(aligned), most), np.float32)
    for i, (*units, num_units) in enumerate(aligned):
        mask[i, :num_units] = 1
        for matrix, side in zip(matrices, units, strict=True):
            matrix[i, :num_units, : len(side)] = pooling_matrix(side, num_units)
    return AlignedBatch(matrices[0], matrices[1], mask)
