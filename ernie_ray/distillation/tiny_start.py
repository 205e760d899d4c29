"""What a Tiny student starts from: layers, widths and embeddings out of its teacher's.

Arrays and tokenizers in, arrays out; no framework. docs/decisions/0060-tiny-students.md gives the
reasons of each rule.

Dimension key: V vocabulary, H teacher width, W student width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import tokenizers
from numpy.typing import NDArray

from ernie_ray.config import TinyStudentSection
from ernie_ray.errors import ConfigError
from ernie_ray.modeldir import EncoderConfig, Pooling
from ernie_ray.models.pretrained import PretrainedEncoder
from ernie_ray.models.pretrained.layouts import weight_shapes
from ernie_ray.text.vocabulary import METASPACE

Array = NDArray[np.float32]
_WORD_TABLE = "embeddings.word.weight"
_LAYER = re.compile(r"layers[.](\d+)[.](.+)")
_RANDOM_STD = 0.02
_ROLES = (("<pad>", "[PAD]"), ("<unk>", "[UNK]"), ("<s>", "[CLS]"), ("</s>", "[SEP]"),
          ("<mask>", "[MASK]"))  # fmt: skip
# A copied unit gives this much of its effect to one of its two places at least: with equal shares
# both would receive equal gradients and stay one unit for ever.
_LEAST_SHARE = 0.25


def layer_map(student: TinyStudentSection, num_teacher_layers: int) -> tuple[int, ...]:
    """For each student layer the teacher's, counted from 1.

    Raises:
        ConfigError: The teacher has no such layer, or fewer than the student.
    """
    num_layers = student.num_layers
    if num_layers > num_teacher_layers:
        raise ConfigError(
            f"student.num_layers={num_layers}, but the teacher has {num_teacher_layers}"
        )
    chosen = student.teacher_layers or tuple(
        round((i + 1) * num_teacher_layers / num_layers) for i in range(num_layers)
    )
    if not all(1 <= layer <= num_teacher_layers for layer in chosen):
        raise ConfigError(
            f"student.teacher_layers={list(chosen)}: the teacher has layers 1 to "
            f"{num_teacher_layers}"
        )
    return chosen


def tiny_start(
    teacher: PretrainedEncoder, tokenizer: tokenizers.Tokenizer, student: TinyStudentSection
) -> PretrainedEncoder:
    """Make the encoder that a student starts as.

    Args:
        teacher: Gives layers, embeddings and all choices but the sizes.
        tokenizer: The student's.
        student: Its shape.

    Raises:
        ConfigError: The shape cannot be started from this teacher.
    """
    config = _config(teacher.config, tokenizer, student)
    rng = np.random.default_rng(student.seed)
    if student.start == "random":
        weights = _random_weights(config, rng)
    else:
        kept = _kept_layers(teacher.weights, layer_map(student, teacher.config.num_layers))
        table = embeddings_of_pieces(teacher, tokenizer)
        weights = widen(kept | {_WORD_TABLE: table}, teacher.config, config, rng)
    return replace(
        teacher,
        config=config,
        weights=weights,
        tokenizer=tokenizer,
        pooling=teacher.pooling if student.pooling is None else Pooling(student.pooling),
        text_prefix=student.text_prefix,
        source=f"{student.num_layers} x {student.hidden_size} of {teacher.source}",
    )


def _config(
    teacher: EncoderConfig, tokenizer: tokenizers.Tokenizer, student: TinyStudentSection
) -> EncoderConfig:
    if student.max_tokens > teacher.max_positions:
        raise ConfigError(
            f"student.max_tokens={student.max_tokens}, but its teacher has "
            f"{teacher.max_positions} positions; choose at most that"
        )
    pad = next((i for name in _ROLES[0] if (i := tokenizer.token_to_id(name)) is not None), None)
    update = {
        "vocab_size": tokenizer.get_vocab_size(with_added_tokens=True),
        "hidden_size": student.hidden_size,
        "num_layers": student.num_layers,
        "num_heads": student.num_heads,
        "ffn_size": student.ffn_size,
        "pad_token_id": 0 if pad is None else pad,
    }
    return teacher.model_copy(update=update)


def _random_weights(config: EncoderConfig, rng: np.random.Generator) -> dict[str, Array]:
    """Draw as BERT does: N(0, 0.02), zero biases, norms that change nothing."""
    weights = {}
    for name, shape in weight_shapes(config).items():
        if name.endswith(".bias"):
            weights[name] = np.zeros(shape, np.float32)
        elif "norm.weight" in name:
            weights[name] = np.ones(shape, np.float32)
        else:
            weights[name] = rng.normal(0, _RANDOM_STD, shape).astype(np.float32)
    return weights


def _kept_layers(weights: Mapping[str, Array], layers: tuple[int, ...]) -> dict[str, Array]:
    kept = {name: value for name, value in weights.items() if not _LAYER.fullmatch(name)}
    for new, layer in enumerate(layers):
        prefix = f"layers.{layer - 1}."
        kept |= {
            f"layers.{new}.{name.removeprefix(prefix)}": value
            for name, value in weights.items()
            if name.startswith(prefix)
        }
    return kept


def embeddings_of_pieces(teacher: PretrainedEncoder, tokenizer: tokenizers.Tokenizer) -> Array:
    """Give each piece of another tokenizer a vector in the teacher's space, [V, H].

    A piece that stands for text gets the mean of the vectors of the teacher's pieces of that text,
    a special token that of the same role; what the teacher cannot read gets its unknown token's.
    """
    table = teacher.weights[_WORD_TABLE]
    theirs = teacher.tokenizer
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    if vocabulary == theirs.get_vocab(with_added_tokens=True):
        return table[: len(vocabulary)]  # the table may be padded to a round number
    marker = theirs.token_to_id(METASPACE)
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    texts = [_text_of(piece) for piece in pieces]
    found = np.empty((len(pieces), table.shape[1]), np.float32)
    unknown = _same_role(theirs, _ROLES[1][0])
    for i, (piece, encoding) in enumerate(
        zip(pieces, theirs.encode_batch_fast(texts, add_special_tokens=False), strict=True)
    ):
        role = _same_role(theirs, piece)
        ids = [role] if role is not None else _telling(encoding.ids, marker)
        found[i] = table[ids or [unknown or 0]].mean(axis=0)
    return found


def _text_of(piece: str) -> str:
    """What a piece stands for: without the sign of a word's start or, in WordPiece, inside."""
    text = piece.replace(METASPACE, " ").strip()
    return text.removeprefix("##") or text or piece


def _same_role(tokenizer: tokenizers.Tokenizer, piece: str) -> int | None:
    """Id of a tokenizer's special token that does what ``piece`` does; None: it is none."""
    names = next((names for names in _ROLES if piece in names), ())
    return next((i for name in names if (i := tokenizer.token_to_id(name)) is not None), None)


def _telling(ids: list[int], marker: int | None) -> list[int]:
    """Leave out a lone marker of a word's start, unless there is nothing else."""
    return [i for i in ids if i != marker] or ids


@dataclass(frozen=True)
class _Copies:
    """Which old unit each new unit is, and the share of the old one's effect that it has.

    Attributes:
        origin: [new units].
        share: [new units]; the shares of one old unit's copies add up to 1.
    """

    origin: NDArray[np.int64]
    share: Array


def widen(
    weights: Mapping[str, Array],
    old: EncoderConfig,
    new: EncoderConfig,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Widen states, heads and FFN by copying units, so that the network computes the same.

    New unit i is a copy of old unit i modulo the old number. What reads a copied unit reads each
    copy with its share, so sums stay what they were (function-preserving initialisation of
    bert2BERT, arXiv 2110.07143); only LayerNorm's mean and variance change a little, as they now
    count some features twice.

    Raises:
        ConfigError: The new network is narrower, or its heads have another size.
    """
    head_size = old.hidden_size // old.num_heads
    for name in ("hidden_size", "num_heads", "ffn_size"):
        if getattr(new, name) < getattr(old, name):
            raise ConfigError(
                f"student.{name}={getattr(new, name)} is smaller than its teacher's "
                f"{getattr(old, name)}; only wider students can start from a teacher, others with "
                "student.start=random"
            )
    if new.hidden_size != new.num_heads * head_size:
        raise ConfigError(
            f"student.num_heads={new.num_heads}: heads of its teacher have {head_size} numbers, so "
            f"a width of {new.hidden_size} needs {new.hidden_size / head_size:g} heads; or set "
            "student.start=random"
        )
    state = _copies(old.hidden_size, new.hidden_size, rng)
    inner = _copies(old.ffn_size, new.ffn_size, rng)
    # Whole heads are copied, in the order of the units within them.
    heads = _copies(old.num_heads, new.num_heads, rng)
    attended = _Copies(
        (heads.origin[:, None] * head_size + np.arange(head_size)).ravel(),
        np.repeat(heads.share, head_size),
    )
    return {
        name: np.ascontiguousarray(_widened(name, value, state, attended, inner))
        for name, value in weights.items()
    }


def _copies(old: int, new: int, rng: np.random.Generator) -> _Copies:
    origin = np.arange(new) % old
    draw = rng.uniform(_LEAST_SHARE, 1 - _LEAST_SHARE, new)
    share = draw / np.bincount(origin, draw, old)[origin]
    return _Copies(origin, share.astype(np.float32))


def _widened(name: str, value: Array, state: _Copies, attended: _Copies, inner: _Copies) -> Array:
    match = _LAYER.fullmatch(name)
    part = match.group(2).rpartition(".")[0] if match else name.rpartition(".")[0]
    reads, writes = {
        "attention.query": (state, attended),
        "attention.key": (state, attended),
        "attention.value": (state, attended),
        "attention.output": (attended, state),
        "ffn.up": (state, inner),
        "ffn.down": (inner, state),
        "pooler": (state, state),
    }.get(part, (None, state))
    if value.ndim == 2 and reads is not None:
        value = value[reads.origin] * reads.share[:, None]
    # Embeddings, norms and biases have one entry, or one column, for each unit written.
    return value[..., writes.origin]
