"""Names of the same weights in each published layout, as one table.

The names follow Hugging Face ``transformers`` (``BertModel``, ``ErnieModel``), PaddleNLP
(``BertModel``, ``ErnieModel``) and paddle-ernie (``ernie/modeling_ernie.py``). Linear weights are
[in, out] in the two Paddle layouts and [out, in] in Hugging Face's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ernie_ray.errors import SourceError
from ernie_ray.modeldir import EncoderConfig

# fmt: off
_COLUMNS = ("ours", "hugging_face", "paddle_nlp", "paddle_ernie")

# Of each part: what stands before its names, and a row for each layer in it. None: the library has
# no such layer.
_PARTS = (
    (("embeddings.", "embeddings.", "embeddings.", ""), (
        ("word",             "word_embeddings",            "word_embeddings",       "word_emb"),
        ("position",         "position_embeddings",        "position_embeddings",   "pos_emb"),
        ("token_type",       "token_type_embeddings",      "token_type_embeddings", "sent_emb"),
        ("task_type",        "task_type_embeddings",       "task_type_embeddings",  None),
        ("layer_norm",       "LayerNorm",                  "layer_norm",            "ln"),
    )),
    (("layers.{i}.", "encoder.layer.{i}.", "encoder.layers.{i}.", "encoder_stack.block.{i}."), (
        ("attention.query",  "attention.self.query",       "self_attn.q_proj",      "attn.q"),
        ("attention.key",    "attention.self.key",         "self_attn.k_proj",      "attn.k"),
        ("attention.value",  "attention.self.value",       "self_attn.v_proj",      "attn.v"),
        ("attention.output", "attention.output.dense",     "self_attn.out_proj",    "attn.o"),
        ("attention_norm",   "attention.output.LayerNorm", "norm1",                 "ln1"),
        ("ffn.up",           "intermediate.dense",         "linear1",               "ffn.i"),
        ("ffn.down",         "output.dense",               "linear2",               "ffn.o"),
        ("ffn_norm",         "output.LayerNorm",           "norm2",                 "ln2"),
    )),
    (("", "", "", ""), (
        ("pooler",           "pooler.dense",               "pooler.dense",          "pooler"),
    )),
)
# fmt: on


def _stems(library: str) -> dict[str, str]:
    column = _COLUMNS.index(library)
    stems = {}
    for before, rows in _PARTS:
        for row in rows:
            if row[column] is not None:
                stems[f"{before[0]}{row[0]}"] = f"{before[column]}{row[column]}"
    return stems


@dataclass(frozen=True)
class Layout:
    """How one library names and shapes the weights.

    Attributes:
        title: Name for messages.
        stems: Our name of a layer (``{i}``: block number) to theirs, without ``.weight``.
        prefixes: What may stand before every encoder name.
        is_transposed: Linear weights are [out, in].
        ignored: Names, prefix removed, of what is no part of an encoder: heads of pretraining and
            fine-tuning, and buffers.
    """

    title: str
    stems: dict[str, str]
    prefixes: tuple[str, ...]
    is_transposed: bool
    ignored: re.Pattern[str]

    def theirs(self, name: str) -> str:
        """Translate one of our names, e.g. ``layers.3.ffn.up.weight``."""
        stem, _, kind = name.rpartition(".")
        number = re.search(r"\.(\d+)\.", stem)
        pattern = re.sub(r"\.\d+\.", ".{i}.", stem, count=1)
        return f"{self.stems[pattern].format(i=number[1] if number else '')}.{kind}"


_HEADS = (
    r"cls\..*|classifier\..*|qa_outputs\..*|linear_(start|end)\..*|lm_head\..*"
    r"|embeddings\.(position_ids|token_type_ids)"
)

HUGGING_FACE = Layout(
    title="Hugging Face",
    stems=_stems("hugging_face"),
    prefixes=("", "ernie.", "bert."),
    is_transposed=True,
    ignored=re.compile(_HEADS),
)
PADDLE_NLP = Layout(
    title="PaddleNLP",
    stems=_stems("paddle_nlp"),
    prefixes=("", "ernie.", "bert."),
    is_transposed=False,
    ignored=re.compile(_HEADS),
)
PADDLE_ERNIE = Layout(
    title="paddle-ernie",
    stems=_stems("paddle_ernie"),
    prefixes=("",),
    is_transposed=False,
    ignored=re.compile(r"(mlm|mlm_ln|classifier|cls|cls_fc|pooler_heads)\..*|mlm_bias|bias"),
)
LAYOUTS = (HUGGING_FACE, PADDLE_NLP, PADDLE_ERNIE)


def find_layout(names: Iterable[str]) -> tuple[Layout, str]:
    """Tell by the first attention layer's name which layout a set of weights has.

    Returns:
        The layout and the prefix of its encoder names.

    Raises:
        SourceError: It is none of the known ones.
    """
    known = set(names)
    for layout in LAYOUTS:
        for prefix in layout.prefixes:
            if prefix + layout.theirs("layers.0.attention.query.weight") in known:
                return layout, prefix
    shown = ", ".join(sorted(known)[:4]) or "nothing"
    raise SourceError(
        f"the weights are no BERT or ERNIE encoder in a known layout "
        f"({', '.join(layout.title for layout in LAYOUTS)}); found {shown}..."
    )


def weight_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Our name and shape of every weight that an encoder of this configuration has."""
    width, inner = config.hidden_size, config.ffn_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word.weight": (config.vocab_size, width),
        "embeddings.position.weight": (config.max_positions, width),
        "embeddings.token_type.weight": (config.num_token_types, width),
    }
    if config.num_task_types:
        shapes["embeddings.task_type.weight"] = (config.num_task_types, width)
    linears: dict[str, tuple[int, int]] = {}
    norms = ["embeddings.layer_norm"]
    for i in range(config.num_layers):
        for part in ("query", "key", "value", "output"):
            linears[f"layers.{i}.attention.{part}"] = (width, width)
        linears[f"layers.{i}.ffn.up"] = (width, inner)
        linears[f"layers.{i}.ffn.down"] = (inner, width)
        norms += [f"layers.{i}.attention_norm", f"layers.{i}.ffn_norm"]
    if config.has_pooler:
        linears["pooler"] = (width, width)
    for name, shape in linears.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, (shape[1],)
    for name in norms:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)
    return shapes
