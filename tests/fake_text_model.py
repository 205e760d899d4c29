"""A small text model whose answers can be worked out by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.inference.layer_pooling import POOLER
from ernie_ray.inference.text_model import Outputs
from ernie_ray.modeldir import (
    ClassificationSpec,
    EmbeddingSpec,
    EncoderConfig,
    InputSpec,
    Lineage,
    Manifest,
    ParityBound,
    Pooling,
    VectorSpec,
)
from ernie_ray.text.features import TokenIds
from ernie_ray.text.tokenizer import Text

VECTOR_SIZE = 4


def manifest(*, name: str = "fake", has_head: bool = True, max_tokens: int = 16) -> Manifest:
    """A manifest of a model that exists only in tests."""
    return Manifest(
        name=name,
        task=ClassificationSpec(labels=("short", "long")) if has_head else EmbeddingSpec(),
        network=EncoderConfig(
            vocab_size=1000,
            hidden_size=VECTOR_SIZE,
            num_layers=2,
            num_heads=1,
            ffn_size=4,
            activation="relu",
            layer_norm_eps=1e-5,
            max_positions=64,
            num_token_types=2,
        ),
        input=InputSpec(max_tokens=max_tokens, pad_token_id=0),
        vector=VectorSpec(pooling=Pooling.CLS, size=VECTOR_SIZE, normalize=False),
        outputs=("vector", "logits"),
        layer_nodes=("layer_1", "layer_2"),
        parity={"fp32": ParityBound(min_cosine=0.999, max_logit_error=0.01)},
        lineage=Lineage(run="tests", recipe={"path": "/secret"}),
        versions={},
    )


class FakeTextModel:
    """One token per character plus two; the vector is [tokens, sum of ids, 1, 0].

    A text with "N" gives NaN, one with "X" makes its whole batch fail. Logits are
    [10 - tokens, tokens]. Token i of every exposed layer is [its id, i, 0, 0], the pooler's vector
    minus that of the first token. Remembers batches.
    """

    def __init__(
        self, manifest: Manifest, *, forward_s: float = 0.0, gate: threading.Event | None = None
    ) -> None:
        self.manifest = manifest
        self.fingerprint = "f" * 16
        self.batches: list[list[TokenIds]] = []
        self._forward_s = forward_s
        self._gate = gate

    def tokenize(self, texts: Sequence[Text]) -> list[TokenIds]:
        limit = self.manifest.input.max_tokens
        rows = []
        for text in texts:
            joined = text if isinstance(text, str) else "".join(text)
            ids = [1, *(ord(c) % 1000 for c in joined), 2]
            rows.append(TokenIds(ids[:limit], [0] * len(ids[:limit]), len(ids) > limit))
        return rows

    def forward(self, rows: Sequence[TokenIds]) -> Outputs:
        self.batches.append(list(rows))
        if self._gate is not None:
            assert self._gate.wait(10)
        if self._forward_s:
            time.sleep(self._forward_s)
        if any(ord("X") in row.input_ids for row in rows):
            raise RuntimeError("poisoned batch")
        vectors = np.zeros((len(rows), VECTOR_SIZE), dtype=np.float32)
        for i, row in enumerate(rows):
            vectors[i] = [len(row), sum(row.input_ids), 1, 0]
            if ord("N") in row.input_ids:
                vectors[i, 3] = np.nan
        has_head = self.manifest.task.num_outputs > 0
        logits = np.stack([10 - vectors[:, 0], vectors[:, 0]], axis=1) if has_head else None
        states = np.zeros((len(rows), max(map(len, rows)), VECTOR_SIZE), dtype=np.float32)
        for i, row in enumerate(rows):
            states[i, : len(row), 0] = row.input_ids
            states[i, :, 1] = np.arange(states.shape[1])  # of the padding, too
        layers = dict.fromkeys(self.manifest.layer_nodes, states)
        return Outputs(vectors, logits, {**layers, POOLER: -states[:, :1]})

    def decode(
        self, logits: NDArray[np.float32], rows: Sequence[TokenIds] = ()
    ) -> list[dict[str, Any]]:
        return [{"label": "long" if b > 10 else "short", "score": 0.5} for _, b in logits.tolist()]
