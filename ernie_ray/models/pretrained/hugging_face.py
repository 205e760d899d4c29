"""Write an encoder as Hugging Face ``transformers`` and ``sentence-transformers`` read it.

The way out: what was trained here can be loaded, served or trained further elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ernie_ray.errors import ConfigError
from ernie_ray.modeldir import EncoderConfig, Pooling
from ernie_ray.modeldir.folder import TOKENIZER
from ernie_ray.modeldir.weight_files import write_arrays, write_tokenizer
from ernie_ray.models.pretrained.layouts import HUGGING_FACE
from ernie_ray.models.pretrained.pretrained_encoder import PretrainedEncoder
from ernie_ray.models.pretrained.renaming import from_our_names

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PROMPTS = "config_sentence_transformers.json"
PROMPT = "text"

_ACTIVATIONS = {"gelu_tanh": "gelu_new"}
_POOLINGS = {Pooling.CLS: "cls_token", Pooling.MEAN: "mean_tokens", Pooling.MAX: "max_tokens"}
_MODULE = "sentence_transformers.models"


def write_hugging_face(encoder: PretrainedEncoder, folder: Path) -> None:
    """Write configuration, weights, tokenizer, and how vectors are pooled.

    Args:
        encoder: What to write; weights are float32 and stay so.
        folder: An empty folder.

    Raises:
        ConfigError: sentence-transformers cannot pool as this encoder does.
    """
    if encoder.pooling not in _POOLINGS:
        known = ", ".join(one.value for one in _POOLINGS)
        raise ConfigError(
            f"pooling {encoder.pooling.value} cannot be written in Hugging Face's layout; it has "
            f"{known}"
        )
    weights = from_our_names(encoder.weights, HUGGING_FACE)
    write_arrays(folder / WEIGHTS, weights, metadata={"format": "pt"})
    write_config(encoder.config, folder)
    write_tokenizer(folder / TOKENIZER, encoder.tokenizer)
    length = encoder.config.max_positions
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "pad_token": encoder.tokenizer.id_to_token(encoder.config.pad_token_id),
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    _write(folder / "tokenizer_config.json", tokenizer)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": length})
    if encoder.text_prefix:
        prompts = {"prompts": {PROMPT: encoder.text_prefix}, "default_prompt_name": PROMPT}
        _write(folder / PROMPTS, prompts)
    _write_modules(encoder, folder)


def write_config(config: EncoderConfig, folder: Path, *, dropout: float = 0.1) -> None:
    """Write ``config.json``: ``BertModel``, or ``ErnieModel`` with task types.

    Args:
        config: Sizes and choices.
        folder: Where to.
        dropout: What ``transformers`` drops, of hidden states and attention, when it trains on;
            the default is BERT's.
    """
    values: dict[str, Any] = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.ffn_size,
        "hidden_act": _ACTIVATIONS.get(config.activation, config.activation),
        "layer_norm_eps": config.layer_norm_eps,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": config.num_token_types,
        "pad_token_id": config.pad_token_id,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    if config.num_task_types:
        values |= {
            "model_type": "ernie",
            "architectures": ["ErnieModel"],
            "use_task_id": True,
            "task_type_vocab_size": config.num_task_types,
        }
    _write(folder / CONFIG, values)


def _write_modules(encoder: PretrainedEncoder, folder: Path) -> None:
    names = {"": "Transformer", "1_Pooling": "Pooling"}
    if encoder.normalize:
        names["2_Normalize"] = "Normalize"
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{_MODULE}.{name}"}
        for i, (path, name) in enumerate(names.items())
    ]
    _write(folder / "modules.json", modules)
    for path in filter(None, names):
        (folder / path).mkdir()
    pooling: dict[str, Any] = {"word_embedding_dimension": encoder.config.hidden_size}
    pooling |= {f"pooling_mode_{key}": one is encoder.pooling for one, key in _POOLINGS.items()}
    _write(folder / "1_Pooling" / CONFIG, pooling)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
