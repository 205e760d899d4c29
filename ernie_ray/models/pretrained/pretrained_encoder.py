"""A pretrained encoder in memory: configuration, weights, tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import tokenizers
from numpy.typing import NDArray

from ernie_ray.errors import ConfigError
from ernie_ray.modeldir import EncoderConfig, Pooling

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class PretrainedEncoder:
    """What training starts from.

    Attributes:
        config: Sizes and choices.
        weights: Float32 arrays under the names of ``ernie_ray.models.encoder.Encoder``; weights of
            linear layers are [in, out].
        tokenizer: Adds special tokens and token types; has no padding and no length limit.
        pooling: How this model's vectors are meant to be pooled.
        normalize: Its vectors are meant to be scaled to length 1.
        text_prefix: Put before every text (E5 models: ``"query: "``).
        source: Where it was read from, for the lineage of what is trained from it.
    """

    config: EncoderConfig
    weights: Weights
    tokenizer: tokenizers.Tokenizer
    pooling: Pooling
    normalize: bool
    text_prefix: str
    source: str


def keep_layers(pretrained: PretrainedEncoder, num_layers: int) -> PretrainedEncoder:
    """Keep the first layers only.

    Args:
        pretrained: Not changed; arrays are shared.
        num_layers: How many of its layers to keep, 1 to all.

    Raises:
        ConfigError: It has fewer layers.
    """
    if not 1 <= num_layers <= pretrained.config.num_layers:
        raise ConfigError(
            f"num_layers={num_layers}, but {pretrained.source} has "
            f"{pretrained.config.num_layers} layers; choose 1 to {pretrained.config.num_layers}"
        )
    dropped = tuple(f"layers.{i}." for i in range(num_layers, pretrained.config.num_layers))
    return replace(
        pretrained,
        config=pretrained.config.model_copy(update={"num_layers": num_layers}),
        weights={k: v for k, v in pretrained.weights.items() if not k.startswith(dropped)},
    )
