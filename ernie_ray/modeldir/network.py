"""Describe a network so that any reader can rebuild it: sizes and choices, no weights."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Pooling(StrEnum):
    """How token states become one vector per text."""

    CLS = "cls"
    MEAN = "mean"
    MAX = "max"
    POOLER = "pooler"


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
