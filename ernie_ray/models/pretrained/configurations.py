"""Read the configuration files of each layout into ``EncoderConfig``.

Libraries write only what differs from their class defaults, and the defaults contradict each
other: PaddleNLP's ``ErnieConfig`` has 16 token types and a task-type table, Hugging Face's 2 and
none. So a size that a file leaves out is read from the weights themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ernie_ray.errors import SourceError
from ernie_ray.modeldir import EncoderConfig
from ernie_ray.models.pretrained.layouts import HUGGING_FACE, PADDLE_ERNIE, Layout
from ernie_ray.models.pretrained.renaming import Arrays

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
_KINDS = ("bert", "ernie")


def read_configuration(path: Path) -> dict[str, Any]:
    """Read a ``config.json``, ``model_config.json`` or ``ernie_config.json`` as one flat table.

    Older PaddleNLP versions nest the encoder's arguments under ``init_args``.

    Raises:
        SourceError: The file is missing or not a JSON object.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path}: not a model configuration: {error}") from error
    if not isinstance(raw, dict):
        raise SourceError(f"{path}: not a model configuration: no JSON object")
    flat = dict(raw)
    for nested in raw.get("init_args", ()):
        if isinstance(nested, dict):
            flat |= nested
    return flat


def encoder_config(raw: dict[str, Any], bare: Arrays, layout: Layout) -> EncoderConfig:
    """Make the configuration of a set of weights.

    Args:
        raw: What ``read_configuration`` gave.
        bare: The weights under the layout's names, without prefix and heads.
        layout: Their layout.

    Raises:
        SourceError: The model is not BERT-shaped, or a value is missing or impossible.
    """
    _require_bert_shape(raw)

    def rows(name: str) -> int | None:
        array = bare.get(layout.theirs(name))
        return None if array is None else int(array.shape[0])

    token_types = raw.get("sent_type_vocab_size") or raw.get("type_vocab_size")
    width = raw.get("hidden_size") or _columns(bare, layout)
    values = {
        "vocab_size": raw.get("vocab_size") or rows("embeddings.word.weight"),
        "hidden_size": width,
        "num_layers": raw.get("num_hidden_layers") or _count_layers(bare, layout),
        "num_heads": raw.get("num_attention_heads", 12),
        "ffn_size": raw.get("intermediate_size") or rows("layers.0.ffn.up.bias"),
        "activation": _activation(raw, layout),
        # paddle-ernie never set it, so Paddle's own default of 1e-5 holds there.
        "layer_norm_eps": raw.get("layer_norm_eps", 1e-5 if layout is PADDLE_ERNIE else 1e-12),
        "max_positions": raw.get("max_position_embeddings") or rows("embeddings.position.weight"),
        "num_token_types": token_types or rows("embeddings.token_type.weight"),
        "num_task_types": _num_task_types(raw, bare, layout),
        "pad_token_id": raw.get("pad_token_id") or 0,
        "has_pooler": layout.theirs("pooler.weight") in bare,
    }
    try:
        return EncoderConfig.model_validate(values)
    except ValidationError as error:
        raise SourceError(f"the model configuration cannot be used: {error}") from error


def _num_task_types(raw: dict[str, Any], bare: Arrays, layout: Layout) -> int:
    if layout is PADDLE_ERNIE:
        return 0  # its ErnieModel has no such table, even where the configuration names one
    table = bare.get(layout.theirs("embeddings.task_type.weight"))
    # PaddleNLP's default is True, yet its own ERNIE 1.0 and Tiny entries neither say so nor have
    # the table: what the file leaves open, the weights decide. Hugging Face's default is False.
    uses = raw.get("use_task_id", False if layout is HUGGING_FACE else table is not None)
    if not uses:
        return 0
    return int(raw.get("task_type_vocab_size") or (3 if table is None else table.shape[0]))


def _activation(raw: dict[str, Any], layout: Layout) -> str:
    default = None if layout is PADDLE_ERNIE else "gelu"
    stated = raw.get("hidden_act", default)
    if stated not in _ACTIVATIONS:
        raise SourceError(
            f"hidden_act={stated!r} is not supported; one of {', '.join(_ACTIVATIONS)} is needed"
        )
    return _ACTIVATIONS[stated]


def _require_bert_shape(raw: dict[str, Any]) -> None:
    kind = raw.get("model_type")
    if kind is not None and kind not in _KINDS:
        raise SourceError(
            f"model_type={kind!r} is not supported; only {' and '.join(_KINDS)} encoders are"
        )
    wanted = {
        "position_embedding_type": ("absolute", None),
        "pool_act": ("tanh", None),
        "is_decoder": (False, None),
        "emb_size": (raw.get("hidden_size"), None),
    }
    for key, allowed in wanted.items():
        if raw.get(key) not in allowed:
            raise SourceError(f"{key}={raw[key]!r} is not supported; {allowed[0]!r} is needed")


def _columns(bare: Arrays, layout: Layout) -> int | None:
    array = bare.get(layout.theirs("embeddings.word.weight"))
    return None if array is None else int(array.shape[1])


def _count_layers(bare: Arrays, layout: Layout) -> int:
    count = 0
    while layout.theirs(f"layers.{count}.attention.query.weight") in bare:
        count += 1
    return count
