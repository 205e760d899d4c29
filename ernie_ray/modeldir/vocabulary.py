"""The vocabulary of a student: how a text is cut into ids, in a form that any reader can follow.

``vocabulary.json`` stands in a student's model directory where an encoder has ``tokenizer.json``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PAD_ID = 0
UNKNOWN_ID = 1
NUM_SPECIAL = 2


class VocabularySpec(BaseModel):
    """Contents of ``vocabulary.json``.

    A text is folded to lower case if asked, and every run of white space becomes one space. Then

    - ``characters``: each character is a piece; what is not in ``pieces`` is unknown;
    - ``words``: jieba's words (accurate mode, with its model for new words), spaces left out;
    - ``subwords``: the likeliest cut by the Unigram ``scores``;
    - ``ngrams``: every run of n characters for each n of ``orders``, hashed; nothing is unknown.

    A text without any piece is one unknown piece.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["characters", "words", "subwords", "ngrams"]
    lowercase: bool = Field(True, description="Fold the text to lower case.")
    pieces: tuple[str, ...] = Field(
        (), description="Known pieces in id order from 2; 0 pads and 1 is unknown."
    )
    scores: tuple[float, ...] = Field(
        (), description="Log-probability of each piece; for subwords only."
    )
    orders: tuple[int, ...] = Field((), description="Lengths of the n-grams; for ngrams only.")
    bucket_bits: int = Field(
        0, ge=0, le=24, description="n-grams are hashed to 2 ** bucket_bits ids."
    )

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> VocabularySpec:
        if self.kind == "ngrams":
            if not self.orders or min(self.orders) < 1 or not self.bucket_bits:
                raise ValueError("ngrams need orders of 1 and more, and bucket_bits")
        elif not self.pieces:
            raise ValueError(f"{self.kind} need pieces")
        if self.kind == "subwords" and len(self.scores) != len(self.pieces):
            raise ValueError("subwords need a score for each piece")
        return self

    @property
    def size(self) -> int:
        """Number of ids, the two special ones included."""
        if self.kind == "ngrams":
            return NUM_SPECIAL + (1 << self.bucket_bits)
        return NUM_SPECIAL + len(self.pieces)
