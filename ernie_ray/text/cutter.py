"""Whatever cuts texts into ids: an encoder's tokenizer or a student's vocabulary, by its file.

Knows the two kinds of files; networks and engines need not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import tokenizers
from pydantic import ValidationError

from ernie_ray.errors import SourceError
from ernie_ray.modeldir import VocabularySpec
from ernie_ray.modeldir.folder import TOKENIZER, VOCABULARY
from ernie_ray.text.features import TokenIds
from ernie_ray.text.student_tokenizer import student_tokenizer
from ernie_ray.text.tokenizer import Text, TextTokenizer
from ernie_ray.text.windows import WindowTokenizer


class Cutter(Protocol):
    """Texts or pairs to token ids."""

    max_tokens: int

    def encode(self, texts: Sequence[Text]) -> list[TokenIds]:
        """Cut each text into at most ``max_tokens`` ids. Thread-safe."""


def cutter_file(folder: Path) -> Path:
    """Find the file that says how a model's texts are cut.

    Raises:
        SourceError: The folder has none.
    """
    for name in (TOKENIZER, VOCABULARY):
        if (folder / name).is_file():
            return folder / name
    raise SourceError(f"{folder}: neither {TOKENIZER} nor {VOCABULARY} is there")


def read_cutter(
    path: Path, *, max_tokens: int, text_prefix: str = "", per_token: bool = False
) -> Cutter:
    """Load a ``tokenizer.json`` or a ``vocabulary.json``.

    Raises:
        SourceError: The file is missing or is neither.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    return cutter_from_bytes(
        content, str(path), max_tokens=max_tokens, text_prefix=text_prefix, per_token=per_token
    )


def cutter_from_bytes(
    content: bytes,
    origin: str,
    *,
    max_tokens: int,
    text_prefix: str = "",
    per_token: bool = False,
) -> Cutter:
    """Like ``read_cutter`` for a file's content.

    Args:
        content: Of either file.
        origin: What messages call it.
        max_tokens: Longest row in tokens, special tokens included.
        text_prefix: Put before every text; students have none.
        per_token: Give windows whose tokens know their place, for tasks that answer per token.

    Raises:
        SourceError: The content is neither.
    """
    if _is_vocabulary(content):
        try:
            spec = VocabularySpec.model_validate_json(content)
        except ValidationError as error:
            raise SourceError(f"{origin}: not a vocabulary: {error}") from error
        return student_tokenizer(spec, max_tokens=max_tokens)
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises ValueError or a bare Exception
        raise SourceError(f"{origin}: not a tokenizer.json: {error}") from error
    kind = WindowTokenizer if per_token else TextTokenizer
    return kind(tokenizer, max_tokens=max_tokens, text_prefix=text_prefix)


def _is_vocabulary(content: bytes) -> bool:
    # A tokenizer.json is large, and nothing but the first key is needed to tell them apart.
    return content[:64].lstrip().startswith(b'{"kind"')
