"""Train the pieces of a Unigram vocabulary (Kudo 2018, arXiv 1804.10959) on a corpus.

Knows how text may be cut, not what the pieces are for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from random import Random
from typing import TypeVar

import orjson
import tokenizers
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

from ernie_ray.errors import DataError

_UNKNOWN_PIECE = "\x01"
_MARK = "\x02"
_NOT_TEXT = {"\x00", _UNKNOWN_PIECE, _MARK}
MAX_PIECE_CHARACTERS = 8

# The trainer refuses a size below the number of characters, and keeps all it has found, not the
# likeliest, at a size without room for the unknown piece and one piece more.
_LEAST_ROOM = 2

T = TypeVar("T")


def train_pieces(
    texts: Iterable[str],
    max_pieces: int,
    pre_tokenizer: tokenizers.pre_tokenizers.PreTokenizer,
    normalizer: tokenizers.normalizers.Normalizer | None = None,
    *,
    max_texts: int | None = None,
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Train pieces and their log-probabilities.

    The same texts give the same pieces. Their log-probabilities may differ in the third decimal
    from run to run, since the trainer meets characters in the order of random hashes.

    Args:
        texts: The corpus; every character of what is read of it becomes a piece.
        max_pieces: Most pieces, unless the corpus has more characters.
        pre_tokenizer: Cuts where no piece may reach across.
        normalizer: Applied before; None: the texts are as they shall be.
        max_texts: Read so many at most, drawn at random, since the trainer's time and memory grow
            with the corpus and its pieces hardly change; None: all.

    Raises:
        DataError: There is no text.
    """
    read = texts if max_texts is None else sample_of(texts, max_texts)
    words = _words(read, pre_tokenizer, normalizer)
    characters = set(chain.from_iterable(words))
    trainer = UnigramTrainer(
        vocab_size=max(max_pieces, len(characters) + _LEAST_ROOM),
        special_tokens=[_UNKNOWN_PIECE],
        unk_token=_UNKNOWN_PIECE,
        max_piece_length=MAX_PIECE_CHARACTERS,
        show_progress=False,
    )
    tokenizer = tokenizers.Tokenizer(Unigram())
    tokenizer.train_from_iterator(words.elements(), trainer)
    vocab = orjson.loads(tokenizer.to_str())["model"]["vocab"]
    found = [(piece, score) for piece, score in vocab if not _NOT_TEXT.intersection(piece)]
    if not found:
        raise DataError("no sub-words could be trained: the texts are empty")
    kept = _likeliest(found, max_pieces)
    return tuple(piece for piece, _ in kept), tuple(score for _, score in kept)


def sample_of(items: Iterable[T], most: int) -> list[T]:
    """Draw at most ``most`` items, each as likely as another, in one pass; always the same ones.

    Algorithm R (Vitter 1985, "Random Sampling with a Reservoir"). Not every n-th item: of pairs,
    whose texts follow one another, that might be the first texts alone.
    """
    random = Random(0)
    kept: list[T] = []
    for place, item in enumerate(items):
        if place < most:
            kept.append(item)
        elif (slot := random.randrange(place + 1)) < most:
            kept[slot] = item
    return kept


def _likeliest(found: list[tuple[str, float]], max_pieces: int) -> list[tuple[str, float]]:
    """Every single character, and of the longer pieces, likeliest first, what there is room for."""
    room = max_pieces - sum(len(piece) == 1 for piece, _ in found)
    longer = sorted((pair for pair in found if len(pair[0]) > 1), key=lambda pair: -pair[1])
    kept = {piece for piece, _ in longer[: max(room, 0)]}
    return [pair for pair in found if len(pair[0]) == 1 or pair[0] in kept]


def _words(
    texts: Iterable[str],
    pre_tokenizer: tokenizers.pre_tokenizers.PreTokenizer,
    normalizer: tokenizers.normalizers.Normalizer | None,
) -> Counter[str]:
    """Count every word, and once each short one that came twice with a mark behind it.

    The trainer begins with what occurs in two places of its list of distinct words. A word that
    stands nowhere but by itself, as most English ones, would never become a piece.
    """
    words: Counter[str] = Counter()
    for text in texts:
        clean = text if normalizer is None else normalizer.normalize_str(text)
        words.update(word for word, _ in pre_tokenizer.pre_tokenize_str(clean))
    repeated = [w for w, count in words.items() if count > 1 and len(w) <= MAX_PIECE_CHARACTERS]
    words.update(word + _MARK for word in repeated)
    return words
