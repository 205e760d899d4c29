"""What batching, serving and labelling need of a model, and no more.

``Predictor`` is the real one; tests bring small fakes. Knows nothing of engines or requests.

Dimension key: N texts, H numbers per vector, C task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ernie_ray.modeldir import Manifest
from ernie_ray.text.features import TokenIds
from ernie_ray.text.tokenizer import Text


@dataclass(frozen=True)
class Outputs:
    """What one forward gives for N rows.

    Attributes:
        vectors: Text vectors before any scaling, float32 [N, H].
        logits: Raw task outputs, float32 [N, C], or [N, T, C] padded at the end for a task that
            answers per token; None for a model without a head.
        states: Padded token states [N, tokens, hidden] of the layers that the engine was asked to
            expose, by node name.
    """

    vectors: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    states: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class TextModel(Protocol):
    """A loaded model directory."""

    @property
    def manifest(self) -> Manifest:
        """Task, labels, lengths and lineage."""

    @property
    def fingerprint(self) -> str:
        """Short name of exactly these weights, labels and settings."""

    def tokenize(self, texts: Sequence[Text]) -> list[TokenIds]:
        """Cut texts into token ids, at most ``manifest.input.max_tokens`` each. Thread-safe.

        One row per text, in order; for a task that answers per token, one ``Window`` or more.
        """

    def forward(self, rows: Sequence[TokenIds]) -> Outputs:
        """Run the network over rows of any lengths. Blocks; thread-safe."""

    def decode(
        self, logits: NDArray[np.float32], rows: Sequence[TokenIds] = ()
    ) -> list[dict[str, Any]]:
        """Turn the logits of ``rows`` into one task result per text, which JSON can hold.

        ``rows`` is needed only for a task that answers per token.
        """
