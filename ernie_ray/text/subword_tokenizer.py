"""Train a short-cutting tokenizer for an encoder on a corpus, and measure how short it cuts.

Sub-words of scripts that are written without spaces, as ERNIE Tiny reads them; words elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import tokenizers
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from ernie_ray.text.tokenizer_build import XLM_SPECIALS, add_xlm_specials, xlm_normalizers
from ernie_ray.text.unigram import train_pieces
from ernie_ray.text.vocabulary import METASPACE, text_chunks

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
# A space beside such a character says nothing and would cost a marker.
_IDLE_SPACE = Regex(rf"(?<={_UNSPACED}) | (?={_UNSPACED})")
# What a model that reads characters takes as one token (``WordCut.ERNIE_1``).
_CHARACTER = re.compile(r"[a-zA-Z0-9]+|\S")


def train_subword_tokenizer(
    texts: Iterable[str],
    max_pieces: int,
    *,
    lowercase: bool,
    characters: Iterable[str] = (),
    max_texts: int | None = None,
) -> tokenizers.Tokenizer:
    """Train Unigram pieces on a corpus and build the tokenizer of an encoder.

    Text is cleaned as XLM-R does, spaces beside Chinese and Japanese characters vanish, and other
    words carry the marker of the space before them. No piece holds punctuation and more, or both
    kinds of characters; a run of marks may be one, as in SentencePiece.

    Args:
        texts: The corpus, without any prefix.
        max_pieces: Most pieces that are trained, special ones included.
        lowercase: Fold case.
        characters: Known besides, so that text unlike the corpus is cut small and not to unknown.
        max_texts: Train on so many at most, drawn at random; None: on all.

    Raises:
        DataError: There is no text.
    """
    steps = xlm_normalizers() + ([normalizers.Lowercase()] if lowercase else [])
    normalizer = normalizers.Sequence([*steps, normalizers.Replace(_IDLE_SPACE, "")])
    words = pre_tokenizers.Metaspace(prepend_scheme="never")
    scripts = pre_tokenizers.Split(Regex(f"{_UNSPACED}+"), behavior="isolated")
    marks = pre_tokenizers.Punctuation(behavior="contiguous")
    cut = pre_tokenizers.Sequence([words, marks, scripts])
    room = max(max_pieces - len(XLM_SPECIALS), 1)
    found, scores = train_pieces(texts, room, cut, normalizer, max_texts=max_texts)
    pieces = [(piece, 0.0) for piece in XLM_SPECIALS]
    pieces += [pair for pair in zip(found, scores, strict=True) if pair[0] not in XLM_SPECIALS]
    rest = sorted(set(map(normalizer.normalize_str, characters)) - {piece for piece, _ in pieces})
    pieces += [(character, min(scores)) for character in rest if len(character) == 1]
    if METASPACE not in {piece for piece, _ in pieces}:
        # Else each space between Latin words is unknown, if the corpus has no such words.
        pieces.append((METASPACE, min(scores)))
    unknown = XLM_SPECIALS.index("<unk>")
    tokenizer = tokenizers.Tokenizer(Unigram(pieces, unk_id=unknown, byte_fallback=False))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = words
    add_xlm_specials(tokenizer, {piece: i for i, (piece, _) in enumerate(pieces)})
    return tokenizer


class Lengths(BaseModel):
    """How long some texts are for a tokenizer; special tokens and prefixes do not count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_texts: int = Field(ge=0, description="Texts that were counted.")
    num_tokens: int = Field(ge=0, description="Tokens of all texts.")
    num_characters: int = Field(
        ge=0, description="Characters; a run of Latin letters and digits counts as one."
    )

    @property
    def saved(self) -> float:
        """Share of the length that the tokens save against single characters."""
        return 1 - self.num_tokens / max(self.num_characters, 1)

    def __str__(self) -> str:
        return (
            f"{100 * self.saved:.1f} % of the length saved against single characters "
            f"({self.num_tokens / max(self.num_texts, 1):.1f} tokens for "
            f"{self.num_characters / max(self.num_texts, 1):.1f} characters a text)"
        )


def measure_lengths(tokenizer: tokenizers.Tokenizer, texts: Iterable[str]) -> Lengths:
    """Count tokens and characters of whole texts."""
    unlimited = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    unlimited.no_truncation()
    num_texts = num_tokens = num_characters = 0
    for chunk in text_chunks(texts):
        num_texts += len(chunk)
        encodings = unlimited.encode_batch_fast(chunk, add_special_tokens=False)
        num_tokens += sum(len(encoding.ids) for encoding in encodings)
        num_characters += sum(len(_CHARACTER.findall(text)) for text in chunk)
    return Lengths(num_texts=num_texts, num_tokens=num_tokens, num_characters=num_characters)
