"""Build a student's vocabulary from a corpus: characters, words, sub-words or hashed n-grams.

The same texts and settings give the same pieces (of sub-words, scores may differ in the third
decimal; see ``unigram``). Knows no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from tokenizers import Regex, pre_tokenizers

from ernie_ray.errors import DataError
from ernie_ray.modeldir import VocabularySpec
from ernie_ray.text.segmenter import segment
from ernie_ray.text.student_tokenizer import normalised
from ernie_ray.text.unigram import train_pieces

VocabularyKind = Literal["characters", "words", "subwords", "ngrams"]


@dataclass(frozen=True)
class VocabularySettings:
    """What to build.

    Attributes:
        kind: Characters, words, sub-words or n-grams.
        max_pieces: Most pieces kept, the most frequent first; not for n-grams.
        max_texts: Most texts that sub-words are trained on, drawn at random.
        min_count: Rarer characters and words are unknown.
        lowercase: Fold case.
        orders: Lengths of the n-grams.
        bucket_bits: n-grams are hashed to ``2 ** bucket_bits`` ids.
    """

    kind: VocabularyKind
    max_pieces: int = 35_000
    max_texts: int = 20_000
    min_count: int = 1
    lowercase: bool = True
    orders: tuple[int, ...] = (1, 2, 3)
    bucket_bits: int = 17


def build_vocabulary(settings: VocabularySettings, texts: Iterable[str]) -> VocabularySpec:
    """Build a vocabulary.

    Args:
        settings: What to build.
        texts: The corpus, e.g. the training rows; not read for n-grams.

    Raises:
        DataError: The corpus holds no piece.
    """
    kind, lowercase = settings.kind, settings.lowercase
    if kind == "ngrams":
        return VocabularySpec(
            kind=kind,
            lowercase=lowercase,
            orders=settings.orders,
            bucket_bits=settings.bucket_bits,
        )
    clean = (normalised(text, lowercase) for text in texts)
    if kind == "subwords":
        pieces, scores = _trained_subwords(clean, settings)
        return VocabularySpec(kind=kind, lowercase=lowercase, pieces=pieces, scores=scores)
    cut: Iterator[Iterable[str]] = clean if kind == "characters" else map(segment, clean)
    kept = _most_frequent(chain.from_iterable(cut), settings)
    if not kept:
        raise DataError(f"no {kind} occur {settings.min_count} times in the texts; lower min_count")
    return VocabularySpec(kind=kind, lowercase=lowercase, pieces=kept)


def _most_frequent(pieces: Iterable[str], settings: VocabularySettings) -> tuple[str, ...]:
    counts = Counter(pieces)
    frequent = [(-n, piece) for piece, n in counts.items() if n >= settings.min_count]
    # Ties by the piece itself, so that the order of the texts does not matter.
    return tuple(piece for _, piece in sorted(frequent)[: settings.max_pieces])


def _trained_subwords(
    texts: Iterable[str], settings: VocabularySettings
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Train Unigram pieces that never cross punctuation."""
    cut = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.Split(Regex(" +"), "isolated")]
    )
    return train_pieces(texts, settings.max_pieces, cut, max_texts=settings.max_texts)
