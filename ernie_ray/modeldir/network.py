"""Describe a network so that any reader can rebuild it: sizes and choices, no weights."""

from __future__ import annotations

from abc import abstractmethod
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Pooling(StrEnum):
    """How token states become one vector per text."""

    CLS = "cls"
    MEAN = "mean"
    MAX = "max"
    POOLER = "pooler"

    @property
    def reads_first_token(self) -> bool:
        """The vector is made of the first token's state alone."""
        return self in (Pooling.CLS, Pooling.POOLER)


class EncoderConfig(BaseModel):
    """Sizes and choices of a BERT-shaped encoder; covers the ERNIE 1.0 - 3.0 family and BERT."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["encoder"] = Field("encoder", description="Tells networks apart in a manifest.")
    vocab_size: int = Field(gt=0, description="Rows of the word embedding.")
    hidden_size: int = Field(gt=0, description="Width of every token state.")
    num_layers: int = Field(gt=0, description="Transformer blocks.")
    num_heads: int = Field(gt=0, description="Attention heads per block.")
    ffn_size: int = Field(gt=0, description="Inner width of the feed-forward part.")
    activation: Literal["relu", "gelu", "gelu_tanh"] = Field(
        description="relu for ERNIE 1.0, 2.0 zh and Tiny; gelu (erf) for 2.0 en, 3.0 and BERT."
    )
    layer_norm_eps: float = Field(gt=0, description="1e-5 for paddle-ernie, 1e-12 for BERT.")
    max_positions: int = Field(gt=0, description="Rows of the position embedding.")
    num_token_types: int = Field(gt=0, description="Rows of the token-type embedding.")
    num_task_types: int = Field(0, ge=0, description="Rows of the task-type embedding; 0: none.")
    pad_token_id: int = Field(0, ge=0, description="Id that fills a batch up.")
    has_pooler: bool = Field(True, description="tanh(W h_cls + b) stands behind the last layer.")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> EncoderConfig:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not divisible by num_heads={self.num_heads}"
            )
        return self


class _StudentConfig(BaseModel):
    """What all students have in common: embeddings below, dense layers above.

    Each text becomes one vector of ``features_per_text`` numbers. Of a pair both do, with the same
    weights, and ``[a, b, |a - b|, a * b]`` goes on. Dense layers follow, and the last one's output
    is the text vector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: int = Field(gt=1, description="Rows of the embedding; 0 pads, 1 is unknown.")
    embedding_size: int = Field(gt=0, description="Width of the embedding.")
    is_pair: bool = Field(False, description="Rows are pairs of texts.")
    squash: Literal["none", "softsign", "tanh"] = Field(
        "none", description="Applied to a text's pooled features."
    )
    hidden_sizes: tuple[int, ...] = Field((), description="Widths of the dense layers.")
    dense_activation: Literal["none", "tanh", "relu"] = Field(
        "tanh", description="After each dense layer."
    )
    pad_token_id: int = Field(0, ge=0, description="Id that fills a batch up.")

    @property
    @abstractmethod
    def features_per_text(self) -> int:
        """Width of one text's pooled features."""

    @property
    def joined_size(self) -> int:
        """Width of what the dense layers get."""
        return self.features_per_text * (4 if self.is_pair else 1)

    @property
    def hidden_size(self) -> int:
        """Width of the text vector."""
        return self.hidden_sizes[-1] if self.hidden_sizes else self.joined_size


class BowConfig(_StudentConfig):
    """A bag of words: the embeddings of a text's tokens, added up."""

    kind: Literal["bow"] = Field("bow", description="Tells networks apart in a manifest.")
    pooling: Literal["sum", "mean", "sqrt", "sqrt_max"] = Field(
        "sum",
        description="sum; mean; sqrt: the sum over the root of the number of tokens; sqrt_max: "
        "that, and beside it the largest number of each dimension.",
    )

    @property
    def features_per_text(self) -> int:
        """Width of one text's pooled features."""
        return self.embedding_size * (2 if self.pooling == "sqrt_max" else 1)


class CnnConfig(_StudentConfig):
    """Filters over windows of neighbouring tokens, pooled over the text."""

    kind: Literal["cnn"] = Field("cnn", description="Tells networks apart in a manifest.")
    widths: tuple[int, ...] = Field((3,), min_length=1, description="Window widths in tokens.")
    num_filters: int = Field(gt=0, description="Filters of each width.")
    activation: Literal["relu", "tanh"] = Field("relu", description="After the filters.")
    pooling: Literal["max", "sum", "mean"] = Field("max", description="Over the positions.")

    @property
    def features_per_text(self) -> int:
        """Width of one text's pooled features."""
        return self.num_filters * len(self.widths)


class LstmConfig(_StudentConfig):
    """One recurrent layer, read in one or in both directions."""

    kind: Literal["lstm"] = Field("lstm", description="Tells networks apart in a manifest.")
    num_units: int = Field(gt=0, description="State size of each direction.")
    is_bidirectional: bool = Field(True, description="Read the text backwards, too.")
    pooling: Literal["last", "max", "mean"] = Field(
        "last", description="The final states, or the maximum or mean of all states."
    )

    @property
    def features_per_text(self) -> int:
        """Width of one text's pooled features."""
        return self.num_units * (2 if self.is_bidirectional else 1)


StudentConfig = BowConfig | CnnConfig | LstmConfig
NetworkConfig = Annotated[
    EncoderConfig | BowConfig | CnnConfig | LstmConfig, Field(discriminator="kind")
]
