"""A network small enough to train and export in a second, with a real tokenizer."""

from __future__ import annotations

import numpy as np

from ernie_ray.modeldir import EncoderConfig, Pooling
from ernie_ray.models.pretrained import PretrainedEncoder
from ernie_ray.text.tokenizer_build import WordCut, wordpiece_tokenizer

CHARACTERS = "的一是不了好坏很书店房间服务差干净喜欢讨厌推荐再来送货快慢这那本家，。！？abcdefghij0123456789"
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS, "good", "bad", "##s"]


def tiny_encoder(*, num_layers: int = 2, seed: int = 0) -> PretrainedEncoder:
    """Random weights: hidden 32, 4 heads, a vocabulary of single characters."""
    config = EncoderConfig(
        vocab_size=len(VOCAB),
        hidden_size=32,
        num_layers=num_layers,
        num_heads=4,
        ffn_size=64,
        activation="gelu",
        layer_norm_eps=1e-12,
        max_positions=64,
        num_token_types=2,
        has_pooler=True,
    )
    from ernie_ray.models.encoder import Encoder

    rng = np.random.default_rng(seed)
    shapes = {name: tuple(p.shape) for name, p in Encoder(config).state_dict().items()}
    weights = {
        name: np.ones(shape, np.float32)
        if "norm.weight" in name
        else rng.normal(0, 0.2, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    return PretrainedEncoder(
        config=config,
        weights=weights,
        tokenizer=wordpiece_tokenizer(VOCAB, WordCut.BERT),
        pooling=Pooling.MEAN,
        normalize=True,
        text_prefix="",
        source=f"tiny-{seed}",
    )
