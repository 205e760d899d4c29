"""Trim a pretrained encoder's vocabulary to a corpus: tokenizer and word embedding together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ernie_ray.models.pretrained.pretrained_encoder import PretrainedEncoder
from ernie_ray.text.vocabulary import trim_tokenizer

_WORD_TABLE = "embeddings.word.weight"


def trim_vocabulary(pretrained: PretrainedEncoder, texts: Iterable[str]) -> PretrainedEncoder:
    """Drop the pieces that a corpus does not use, so that the word table trains quickly.

    The given texts keep their pieces and so their vectors; other texts are cut smaller, and never
    to an unknown token where the full vocabulary has none (``trim_tokenizer`` says why).

    Args:
        pretrained: Its tokenizer must be Unigram or WordPiece; not changed.
        texts: The corpus without the text prefix, which is added here.

    Raises:
        SourceError: The tokenizer is of another kind.
    """
    prefix = pretrained.text_prefix
    trimmed = trim_tokenizer(pretrained.tokenizer, (prefix + text for text in texts))
    kept_ids = trimmed.kept_ids
    update = {
        "vocab_size": len(kept_ids),
        "pad_token_id": trimmed.new_id(pretrained.config.pad_token_id),
    }
    words = pretrained.weights[_WORD_TABLE][kept_ids]
    return replace(
        pretrained,
        config=pretrained.config.model_copy(update=update),
        weights=pretrained.weights | {_WORD_TABLE: words},
        tokenizer=trimmed.tokenizer,
    )
