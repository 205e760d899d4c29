"""Train the pieces of a Unigram vocabulary (Kudo 2018, arXiv 1804.10959) on a corpus.

Knows how text may be cut, not what the pieces are for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import orjson
import tokenizers
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

from ernie_ray.errors import DataError

_UNKNOWN_PIECE = "\x01"
_MARK = "\x02"
_NOT_TEXT = {"\x00", _UNKNOWN_PIECE, _MARK}
MAX_PIECE_CHARACTERS = 8


def train_pieces(
    texts: Iterable[str],
    max_pieces: int,
    pre_tokenizer: tokenizers.pre_tokenizers.PreTokenizer,
    normalizer: tokenizers.normalizers.Normalizer | None = None,
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Train pieces and their log-probabilities; the same texts give the same.

    Args:
        texts: The corpus; every character of it becomes a piece.
        max_pieces: Most pieces, unless the corpus has more characters.
        pre_tokenizer: Cuts where no piece may reach across.
        normalizer: Applied before; None: the texts are as they shall be.

    Raises:
        DataError: There is no text.
    """
    tokenizer = tokenizers.Tokenizer(Unigram())
    trainer = UnigramTrainer(
        vocab_size=max_pieces,
        special_tokens=[_UNKNOWN_PIECE],
        unk_token=_UNKNOWN_PIECE,
        max_piece_length=MAX_PIECE_CHARACTERS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_words(texts, pre_tokenizer, normalizer), trainer)
    vocab = orjson.loads(tokenizer.to_str())["model"]["vocab"]
    found = [(piece, score) for piece, score in vocab if not _NOT_TEXT.intersection(piece)]
    if not found:
        raise DataError("no sub-words could be trained: the texts are empty")
    return tuple(piece for piece, _ in found), tuple(score for _, score in found)


def _words(
    texts: Iterable[str],
    pre_tokenizer: tokenizers.pre_tokenizers.PreTokenizer,
    normalizer: tokenizers.normalizers.Normalizer | None,
) -> Iterator[str]:
    """Every word, and at the end each short one that came twice with a mark behind it.

    The trainer begins with what occurs in two places of its list of distinct words. A word that
    stands nowhere but by itself, as most English ones, would never become a piece.
    """
    short: Counter[str] = Counter()
    for text in texts:
        clean = text if normalizer is None else normalizer.normalize_str(text)
        for word, _ in pre_tokenizer.pre_tokenize_str(clean):
            if len(word) <= MAX_PIECE_CHARACTERS:
                short[word] += 1
            yield word
    yield from (word + _MARK for word, count in short.items() if count > 1)
