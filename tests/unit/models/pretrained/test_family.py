"""Every member of the family by the configuration that is published with it.

Values: paddlenlp/transformers/ernie/configuration.py and ``ernie_config.json`` of the ERNIE kit.
"""

from __future__ import annotations

import numpy as np
import pytest

from ernie_ray.modeldir import EncoderConfig
from ernie_ray.models.pretrained.configurations import encoder_config
from ernie_ray.models.pretrained.layouts import (
    PADDLE_ERNIE,
    PADDLE_NLP,
    Layout,
    weight_shapes,
)

# name: layers, width, heads, FFN, activation, vocabulary, positions, token types, task types
MEMBERS = {
    "ernie-1.0": (12, 768, 12, 3072, "relu", 18_000, 513, 2, 0),
    "ernie-2.0-base-zh": (12, 768, 12, 3072, "relu", 18_000, 513, 4, 0),
    "ernie-2.0-large-zh": (24, 1024, 16, 4096, "relu", 12_800, 512, 4, 0),
    "ernie-2.0-base-en": (12, 768, 12, 3072, "gelu", 30_522, 512, 4, 16),
    "ernie-2.0-large-en": (24, 1024, 16, 4096, "gelu", 30_522, 512, 4, 16),
    "ernie-3.0-xbase-zh": (20, 1024, 16, 4096, "gelu", 40_000, 2048, 4, 3),
    "ernie-3.0-base-zh": (12, 768, 12, 3072, "gelu", 40_000, 2048, 4, 3),
    "ernie-3.0-medium-zh": (6, 768, 12, 3072, "gelu", 40_000, 2048, 4, 16),
    "ernie-3.0-mini-zh": (6, 384, 12, 1536, "gelu", 40_000, 2048, 4, 16),
    "ernie-3.0-micro-zh": (4, 384, 12, 1536, "gelu", 40_000, 2048, 4, 16),
    "ernie-3.0-nano-zh": (4, 312, 12, 1248, "gelu", 40_000, 2048, 4, 16),
    "ernie-tiny": (3, 1024, 16, 4096, "relu", 50_006, 600, 2, 0),
}


def described(name: str, layer_norm_eps: float) -> EncoderConfig:
    layers, width, heads, ffn, activation, vocab, positions, token_types, task_types = MEMBERS[name]
    return EncoderConfig(
        vocab_size=vocab,
        hidden_size=width,
        num_layers=layers,
        num_heads=heads,
        ffn_size=ffn,
        activation=activation,
        layer_norm_eps=layer_norm_eps,
        max_positions=positions,
        num_token_types=token_types,
        num_task_types=task_types,
    )


def file_of(config: EncoderConfig) -> dict[str, object]:
    task_types = {"use_task_id": True, "task_type_vocab_size": config.num_task_types}
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.ffn_size,
        "hidden_act": config.activation,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": config.num_token_types,
        **(task_types if config.num_task_types else {}),
    }


def arrays_of(config: EncoderConfig, layout: Layout) -> dict[str, np.ndarray]:
    """Weights of the right shapes that take no memory."""
    shapes = {layout.theirs(name): shape for name, shape in weight_shapes(config).items()}
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_is_read_as_published(name: str) -> None:
    expected = described(name, layer_norm_eps=1e-12)
    arrays = arrays_of(expected, PADDLE_NLP)
    assert encoder_config(file_of(expected), arrays, PADDLE_NLP) == expected


@pytest.mark.parametrize("name", ["ernie-1.0", "ernie-tiny"])
def test_the_kits_own_files_are_read_with_the_kits_epsilon(name: str) -> None:
    expected = described(name, layer_norm_eps=1e-5)
    raw = file_of(expected)
    del raw["intermediate_size"]  # the kit computes it
    arrays = arrays_of(expected, PADDLE_ERNIE)
    assert encoder_config(raw, arrays, PADDLE_ERNIE) == expected
