"""Write a pretrained encoder into a folder of either Paddle layout, as those libraries do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import paddle

from ernie_ray.models.pretrained import PretrainedEncoder
from ernie_ray.models.pretrained.layouts import PADDLE_ERNIE, PADDLE_NLP, Layout


def write_paddle_nlp(folder: Path, pretrained: PretrainedEncoder, vocab: Path, **changes) -> Path:
    config = pretrained.config
    raw = {
        "model_type": "ernie",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.ffn_size,
        "hidden_act": config.activation,
        "layer_norm_eps": config.layer_norm_eps,
        "max_position_embeddings": config.max_positions,
    }
    (folder / "config.json").write_text(json.dumps(raw | changes))
    _save(folder / "model_state.pdparams", pretrained, PADDLE_NLP, "ernie.", "cls.predictions.bias")
    shutil.copy(vocab, folder / "vocab.txt")
    return folder


def write_paddle_ernie(folder: Path, pretrained: PretrainedEncoder, vocab: Path, **changes) -> Path:
    config = pretrained.config
    raw = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.ffn_size,
        "hidden_act": config.activation,
        "max_position_embeddings": config.max_positions,
        "sent_type_vocab_size": config.num_token_types,
        "type_vocab_size": 77,  # the other key wins
    }
    (folder / "ernie_config.json").write_text(json.dumps(raw | changes))
    _save(folder / "saved_weights.pdparams", pretrained, PADDLE_ERNIE, "", "mlm_bias")
    shutil.copy(vocab, folder / "vocab.txt")
    return folder


def _save(
    path: Path, pretrained: PretrainedEncoder, layout: Layout, prefix: str, head: str
) -> None:
    state = {
        prefix + layout.theirs(name): paddle.to_tensor(array)
        for name, array in pretrained.weights.items()
    }
    state[head] = paddle.zeros([pretrained.config.vocab_size])
    paddle.save(state, str(path))
