"""Cut texts into token ids with the one ``tokenizer.json`` of a model directory.

Knows the ``tokenizers`` library; how a tokenizer.json is built from a vocabulary stands in
``ernie_ray.text.tokenizer_build``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tokenizers

from ernie_ray.errors import SourceError
from ernie_ray.text.features import TokenIds

Text = str | tuple[str, str]

# Texts of a pair that are shorter have few pieces.
_MOST_CHARACTERS_PER_TOKEN = 4


def load_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """Load a ``tokenizer.json``; its own padding and length limit are dropped.

    Raises:
        SourceError: The file is not a tokenizer.
    """
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception
        raise SourceError(f"{path}: not a tokenizer.json: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class TextTokenizer:
    """Texts or pairs to token ids, cut to a limit by dropping from the longest text first."""

    def __init__(
        self, tokenizer: tokenizers.Tokenizer, *, max_tokens: int, text_prefix: str = ""
    ) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: Adds the special tokens itself; its own padding and limit are replaced.
            max_tokens: Longest row in tokens, special tokens included.
            text_prefix: Put before every text (E5 models need ``"query: "``).
        """
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens, strategy="longest_first")
        self._tokenizer = tokenizer
        self._text_prefix = text_prefix
        self.max_tokens = max_tokens

    @classmethod
    def from_file(cls, path: Path, *, max_tokens: int, text_prefix: str = "") -> TextTokenizer:
        """Load a ``tokenizer.json``.

        Raises:
            SourceError: The file is missing or not a tokenizer.
        """
        return cls(load_tokenizer(path), max_tokens=max_tokens, text_prefix=text_prefix)

    def encode(self, texts: Sequence[Text]) -> list[TokenIds]:
        """Tokenize a batch (in parallel, without the interpreter lock).

        Args:
            texts: Single texts or (text, text_pair) tuples.

        Returns:
            One row per text, at most ``max_tokens`` long.
        """
        encodings = self._tokenizer.encode_batch_fast([self._input(text) for text in texts])
        return [TokenIds(e.ids, e.type_ids, bool(e.overflowing)) for e in encodings]

    def _input(self, text: Text) -> Text:
        if isinstance(text, str):
            return self._text_prefix + text
        first, second = (self._text_prefix + part for part in text)
        if max(len(first), len(second)) <= _MOST_CHARACTERS_PER_TOKEN * self.max_tokens:
            return first, second
        return self._starts_of(first, second)

    def _starts_of(self, first: str, second: str) -> tuple[str, str]:
        """Cut the texts of a pair behind more tokens than a row can hold of one.

        The library keeps what it drops from a pair in all combinations of both texts' pieces:
        more than a gigabyte for two texts of 8,000 characters. The longer one stays the longer
        one, since it gets the odd token.
        """
        # In a batch: it lets other threads work meanwhile, which one by one does not.
        cuts = self._tokenizer.encode_batch([first, second], add_special_tokens=False)
        sizes = [sum(len(part) for part in (cut, *cut.overflowing)) for cut in cuts]
        ends = [
            None  # all of it
            if not cut.overflowing
            else (cut.offsets[-1] if size < max(sizes) else cut.overflowing[0].offsets[0])[1]
            for cut, size in zip(cuts, sizes, strict=True)
        ]
        return first[: ends[0]], second[: ends[1]]
