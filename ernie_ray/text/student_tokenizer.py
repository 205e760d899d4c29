"""Cut texts for students: characters, words, sub-words or hashed n-grams.

One short text must cost microseconds, so there are no special tokens and no offsets, and each kind
is a few calls into C. How a vocabulary is built stands in ``ernie_ray.text.student_vocabulary``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers.models import Unigram

from ernie_ray.modeldir import VocabularySpec
from ernie_ray.modeldir.vocabulary import NUM_SPECIAL, UNKNOWN_ID
from ernie_ray.text.features import TokenIds
from ernie_ray.text.segmenter import segment
from ernie_ray.text.tokenizer import Text

_CHARACTERS_PER_PIECE = 16
"""A text is cut to so many characters per allowed id before it is split: words and sub-words are
shorter, and no text may cost more than its share."""

# Constant and fold of MurmurHash3's finaliser (Appleby, public domain).
_MULTIPLIER, _FOLD = np.uint32(0x85EBCA6B), np.uint32(15)

Ids = Sequence[int] | NDArray[np.int64]
Cut = Callable[[str, int], tuple[Ids, bool]]
"""Normalised text and most ids -> ids, and whether some were dropped."""


class StudentTokenizer:
    """Texts or pairs to ids; of a pair each text gets at most half of the ids."""

    def __init__(self, spec: VocabularySpec, cut: Cut, *, max_tokens: int) -> None:
        """Wrap a way to cut; see ``student_tokenizer``."""
        self.spec = spec
        self.max_tokens = max_tokens
        self._cut = cut
        self._lowercase = spec.lowercase

    def encode(self, texts: Sequence[Text]) -> list[TokenIds]:
        """Cut texts or (text, text_pair) tuples; token type 1 marks the second text."""
        return [self._encode_one(text) for text in texts]

    def _encode_one(self, text: Text) -> TokenIds:
        if isinstance(text, str):
            ids, is_cut = self._cut(normalised(text, self._lowercase), self.max_tokens)
            return TokenIds(ids, [0] * len(ids), is_cut)
        limit = self.max_tokens // 2
        first, first_is_cut = self._cut(normalised(text[0], self._lowercase), limit)
        second, second_is_cut = self._cut(normalised(text[1], self._lowercase), limit)
        types = [0] * len(first) + [1] * len(second)
        return TokenIds([*first, *second], types, first_is_cut or second_is_cut)


def student_tokenizer(spec: VocabularySpec, *, max_tokens: int) -> StudentTokenizer:
    """Build the tokenizer of a vocabulary.

    Args:
        spec: The vocabulary.
        max_tokens: Most ids of a row; for pairs, of both texts together.
    """
    cut: Cut
    if spec.kind == "characters":
        cut = _characters(spec)
    elif spec.kind == "words":
        cut = _words(spec)
    elif spec.kind == "subwords":
        cut = _subwords(spec)
    else:
        cut = _ngrams(spec)
    return StudentTokenizer(spec, cut, max_tokens=max_tokens)


def normalised(text: str, lowercase: bool) -> str:
    """Fold case if asked, and make every run of white space one space."""
    return " ".join((text.lower() if lowercase else text).split())


def _ids_of_pieces(spec: VocabularySpec) -> dict[str, int]:
    return {piece: i for i, piece in enumerate(spec.pieces, NUM_SPECIAL)}


def _characters(spec: VocabularySpec) -> Cut:
    find = _ids_of_pieces(spec).get

    def cut(text: str, limit: int) -> tuple[Ids, bool]:
        ids = [find(character, UNKNOWN_ID) for character in text[:limit]] or [UNKNOWN_ID]
        return ids, len(text) > limit

    return cut


def _words(spec: VocabularySpec) -> Cut:
    find = _ids_of_pieces(spec).get

    def cut(text: str, limit: int) -> tuple[Ids, bool]:
        shown = text[: limit * _CHARACTERS_PER_PIECE]
        ids = [find(word, UNKNOWN_ID) for word in segment(shown)] or [UNKNOWN_ID]
        return ids[:limit], len(ids) > limit or len(shown) < len(text)

    return cut


def _subwords(spec: VocabularySpec) -> Cut:
    # The library gives pieces their position as id, so the two special ids are pieces, too; no
    # text matches them, because it never holds a control character.
    pieces = [("\x00", 0.0), ("\x01", 0.0), *zip(spec.pieces, spec.scores, strict=True)]
    tokenizer = tokenizers.Tokenizer(Unigram(pieces, unk_id=UNKNOWN_ID, byte_fallback=False))

    def cut(text: str, limit: int) -> tuple[Ids, bool]:
        shown = text[: limit * _CHARACTERS_PER_PIECE].replace("\x00", " ").replace("\x01", " ")
        ids = tokenizer.encode(shown, add_special_tokens=False).ids or [UNKNOWN_ID]
        return ids[:limit], len(ids) > limit or len(shown) < len(text)

    return cut


def _ngrams(spec: VocabularySpec) -> Cut:
    orders = spec.orders
    shift = np.uint32(32 - spec.bucket_bits)
    num_overlaps = sum(order - 1 for order in orders)

    def cut(text: str, limit: int) -> tuple[Ids, bool]:
        # n characters have n - order + 1 runs of each order.
        num_characters = max((limit + num_overlaps) // len(orders), 1)
        shown = text[:num_characters]
        ids = hashed_ngrams(shown, orders, shift)[:limit]
        return (ids if len(ids) else [UNKNOWN_ID]), len(shown) < len(text)

    return cut


def hashed_ngrams(text: str, orders: Sequence[int], shift: np.uint32) -> NDArray[np.int64]:
    """Hash every run of n characters, for each n of ``orders``.

    A run's hash starts at 0 and takes in one code point after the other: ``h = (h + point) * M``,
    then ``h = h ^ (h >> 15)``, in 32-bit arithmetic that wraps around. Its id is the upper bits of
    ``h * M``. So a run of n characters costs one step more than those of n - 1.

    Args:
        text: Normalised text.
        orders: Lengths of the runs, each 1 or more.
        shift: 32 minus the bits of an id.

    Returns:
        Ids from 2 on, those of the shorter runs first, shape [number of runs].
    """
    # surrogatepass: a lone surrogate is hashed like any other code point.
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    parts = []
    hashes = np.zeros(len(points), dtype=np.uint32)
    for order in range(1, min(max(orders), len(points)) + 1):
        hashes = hashes[: len(points) - order + 1] + points[order - 1 :]
        hashes *= _MULTIPLIER
        hashes ^= hashes >> _FOLD
        if order in orders:
            parts.append(hashes)
    if not parts:
        return np.empty(0, dtype=np.int64)
    mixed = np.concatenate(parts)
    mixed *= _MULTIPLIER
    mixed >>= shift
    ids = mixed.astype(np.int64)
    ids += NUM_SPECIAL
    return ids
