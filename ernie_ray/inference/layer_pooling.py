"""Vectors of a caller's choice from the token states that a graph exposes.

Knows arrays and layer names; neither engines nor requests.

Dimension key: N texts, T tokens of one text, H hidden size, L chosen layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POOLINGS = ("cls", "mean", "max", "mean_max", "none")
POOLER = "pooler"
"""Name of the states [N, 1, H] that ``Pooler`` gives, beside those of the layers."""


@dataclass(frozen=True)
class VectorChoice:
    """Which vector a text gets instead of the model's own.

    Attributes:
        pooling: One of ``POOLINGS``; ``none`` gives a vector for each token.
        nodes: Layers whose vectors are joined, by the names in the manifest's ``layer_nodes``.
    """

    pooling: str
    nodes: tuple[str, ...]

    @property
    def per_token(self) -> bool:
        """True if a text gets [T, H * L] numbers."""
        return self.pooling == "none"

    def size(self, hidden_size: int) -> int:
        """Numbers per vector."""
        return hidden_size * len(self.nodes) * (2 if self.pooling == "mean_max" else 1)


@dataclass(frozen=True)
class Pooler:
    """``tanh(h_cls W + b)``, which stands behind the last layer of many pretrained encoders.

    Attributes:
        last_layer: Name of the layer whose states it reads.
        weight: [H, H], inputs by outputs, as Paddle keeps them.
        bias: [H], added before the tanh.
    """

    last_layer: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, states: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Give each text one vector, [N, 1, H], from the token states of the layers."""
        first_N1H = states[self.last_layer][:, :1]
        return np.tanh(first_N1H @ self.weight + self.bias)


def pool_text(
    states: Mapping[str, NDArray[np.float32]], row: int, num_tokens: int, choice: VectorChoice
) -> NDArray[np.float32]:
    """Pool one text's token states.

    Args:
        states: Padded token states [N, T, H] by layer.
        row: The text's position in the batch.
        num_tokens: Its length without padding.
        choice: Pooling and layers.

    Returns:
        float32 [size], or [num_tokens, size] without pooling.
    """
    parts: Sequence[NDArray[np.float32]] = [
        _pool(states[node][row, :num_tokens], choice.pooling) for node in choice.nodes
    ]
    return np.concatenate(parts, axis=-1)


def _pool(states_TH: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    if pooling == "cls":
        return states_TH[0]
    if pooling == "mean":
        return np.asarray(states_TH.mean(axis=0))
    if pooling == "max":
        return np.asarray(states_TH.max(axis=0))
    if pooling == "mean_max":
        return np.concatenate([states_TH.mean(axis=0), states_TH.max(axis=0)])
    return states_TH
