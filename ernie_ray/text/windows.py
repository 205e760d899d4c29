"""Cut texts into windows of token ids that know where each token stands in the text.

For tasks that answer per token. A text longer than the limit becomes several windows that overlap,
so that nothing of it is lost. Knows nothing of labels.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, pre_tokenizers

from ernie_ray.text.features import NO_PLACE, TokenIds, Window
from ernie_ray.text.tokenizer import Text, load_tokenizer
from ernie_ray.text.unseen import JOINING, narrowed
from ernie_ray.text.vocabulary import METASPACE

# What a piece of several characters must not join: characters of scripts written without spaces,
# punctuation and symbols. Not the marker of a word's start (U+2581), which is a symbol, too.
_SINGLE = Regex(r"[\p{Han}\p{Hiragana}\p{Katakana}]|[^\p{L}\p{M}\p{N}\s\u2581]")
_OVERLAP_SHARE = 0.25
_QUESTION_SHARE = 0.5


def cut_to_characters(tokenizer: tokenizers.Tokenizer) -> None:
    """Make a tokenizer take every Chinese or Japanese character, and every sign, by itself.

    The step becomes part of the ``tokenizer.json``, so every reader cuts alike. Without it a piece
    such as 国银 or 》， may hold the end of one entity and the start of what follows
    (docs/decisions/0040-character-tokens.md).
    """
    steps = [] if tokenizer.pre_tokenizer is None else [tokenizer.pre_tokenizer]
    split = pre_tokenizers.Split(_SINGLE, behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, split])


class WindowTokenizer:
    """Texts, or questions with their contexts, to overlapping windows."""

    def __init__(
        self, tokenizer: tokenizers.Tokenizer, *, max_tokens: int, text_prefix: str = ""
    ) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: Adds the special tokens itself; its own padding and limit are replaced.
            max_tokens: Longest window in tokens, special tokens included.
            text_prefix: Put before every text.
        """
        self.max_tokens = max_tokens
        self._prefix = text_prefix
        # Half a window at most is the question, so the overlap always fits into the rest.
        overlap = int(max_tokens * _OVERLAP_SHARE)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens, stride=overlap, strategy="only_second")
        self._pairs = tokenizer
        self._singles = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        self._singles.enable_truncation(max_tokens, stride=overlap, strategy="longest_first")

    @classmethod
    def from_file(cls, path: Path, *, max_tokens: int, text_prefix: str = "") -> WindowTokenizer:
        """Load a ``tokenizer.json``.

        Raises:
            SourceError: The file is missing or not a tokenizer.
        """
        return cls(load_tokenizer(path), max_tokens=max_tokens, text_prefix=text_prefix)

    def encode(self, texts: Sequence[Text]) -> list[TokenIds]:
        """Cut each text into one window or more.

        Args:
            texts: Single texts, or (question, context) tuples. A question longer than half a
                window is cut; contexts never are.

        Returns:
            The windows of all texts, in order.
        """
        prefix = self._prefix
        is_cut = [False] * len(texts)
        inputs: list[str | tuple[str, str]] = []
        for i, text in enumerate(texts):
            if isinstance(text, str):
                inputs.append(prefix + text)
            else:
                question = self._cut_question(prefix + text[0])
                is_cut[i] = len(question) < len(prefix) + len(text[0])
                inputs.append((question, prefix + text[1]))
        if inputs and isinstance(inputs[0], tuple):
            encodings = self._pairs.encode_batch(inputs)
        else:
            encodings = self._singles.encode_batch(inputs)
        rows: list[TokenIds] = []
        for text, encoding, cut in zip(texts, encodings, is_cut, strict=True):
            shown = text if isinstance(text, str) else text[1]
            rows += self._windows(encoding, shown, 0 if isinstance(text, str) else 1, cut)
        return rows

    def _cut_question(self, question: str) -> str:
        limit = int(self.max_tokens * _QUESTION_SHARE) - 4
        encoding = self._singles.encode(question, add_special_tokens=False)
        if len(encoding.ids) <= limit:
            return question
        end: int = encoding.offsets[limit - 1][1]
        return question[:end]

    def _windows(self, encoding: Any, text: str, sequence: int, is_cut: bool) -> list[Window]:
        parts = [encoding, *encoding.overflowing]
        places = visible_places(parts, text, sequence, len(self._prefix))
        return [
            Window(part.ids, part.type_ids, is_cut, offsets=offsets, text=text, is_first=i == 0)
            for i, (part, offsets) in enumerate(zip(parts, places, strict=True))
        ]


def visible_places(
    parts: Sequence[Any], text: str, sequence: int, prefix_length: int
) -> list[list[tuple[int, int]]]:
    """Tell where the tokens of one text stand in it.

    Args:
        parts: Encodings of the text, all windows of it.
        text: Without its prefix.
        sequence: 0 for the first or only text of a row, 1 for the second.
        prefix_length: Characters before the text.

    Returns:
        For each encoding, of every token the start and end as ``visible_part`` narrows them;
        ``NO_PLACE`` for tokens of the other text, special tokens and a word marker by itself.
    """
    placed = [
        [
            place if owner == sequence and token != METASPACE else None
            for token, place, owner in zip(
                part.tokens, part.offsets, part.sequence_ids, strict=True
            )
        ]
        for part in parts
    ]
    by_end = {place[1]: place for part in placed for place in part if place is not None}

    def visible(token: str, place: tuple[int, int] | None) -> tuple[int, int]:
        if place is None:
            return NO_PLACE
        start = _own_start(token, place, by_end)
        return visible_part(text, start - prefix_length, place[1] - prefix_length)

    return [
        [visible(token, place) for token, place in zip(part.tokens, places, strict=True)]
        for part, places in zip(parts, placed, strict=True)
    ]


def _own_start(token: str, place: tuple[int, int], by_end: dict[int, tuple[int, int]]) -> int:
    """Start of a token without the character before it.

    A marker that a normalizer puts between two characters, as before ERNIE Tiny's Latin words,
    takes the place of the first of them, which is the end of another token.
    """
    start = place[0]
    is_marked = token.startswith(METASPACE) and by_end.get(start + 1, place) != place
    return start + 1 if is_marked else start


def visible_part(text: str, start: int, end: int) -> tuple[int, int]:
    """Narrow a token's place to what is seen of it, or widen it over marks that belong to it.

    Returns:
        Start and end without what is not seen at the edges and with combining marks at the end;
        ``NO_PLACE`` if nothing is left.
    """
    start, end = narrowed(text, max(start, 0), end)
    if start >= end:
        return NO_PLACE
    while end < len(text) and _is_joined(text[end]):
        end += 1
    return start, end


def _is_joined(character: str) -> bool:
    # Vowels and finals of decomposed Korean combine, too, but Unicode gives them class 0.
    is_jamo = "\u1160" <= character <= "\u11ff"
    return is_jamo or bool(unicodedata.combining(character)) or character in JOINING
