"""Listen to what passes inside an encoder: its layers' states and the last queries, keys, values.

Knows the encoder's parts, not what is done with what they give.
"""

from __future__ import annotations

from typing import Any

import paddle

from ernie_ray.errors import ConfigError
from ernie_ray.models.text_network import TextNetwork

RELATED = ("query", "key", "value")


class Inside:
    """Keeps what the parts of a network gave in its last forward pass, in full precision."""

    def __init__(self, network: TextNetwork, layers: tuple[int, ...], related_layer: int) -> None:
        """Begin to listen.

        Args:
            network: Its forward pass stays as it is.
            layers: Layers whose states are kept, counted from 1.
            related_layer: Layer whose queries, keys and values are kept, counted from 1.
        """
        self._kept: dict[str, paddle.Tensor] = {}
        self._layers = layers
        for layer in set(layers):
            self._listen(network.encoder.layers[layer - 1], f"layer {layer}")
        attention = network.encoder.layers[related_layer - 1].attention
        for name in RELATED:
            self._listen(getattr(attention, name), name)

    @property
    def states(self) -> list[paddle.Tensor]:
        """States of each layer asked for, in that order."""
        return [self._kept[f"layer {layer}"] for layer in self._layers]

    @property
    def related(self) -> list[paddle.Tensor]:
        """Queries, keys and values."""
        return [self._kept[name] for name in RELATED]

    def refuse_lost_gradients(self) -> None:
        """Refuse to learn from states through which no gradient flows.

        Raises:
            ConfigError: The forward pass kept no graph, as with recomputation.
        """
        if any(tensor.stop_gradient for tensor in self._kept.values()):
            raise ConfigError(
                "a student's states cannot be learnt where its forward pass is recomputed or "
                "layers are frozen below them; switch that off in the training section"
            )

    def _listen(self, part: Any, name: str) -> None:
        def keep(layer: Any, inputs: Any, output: paddle.Tensor) -> None:
            self._kept[name] = output.astype("float32")

        part.register_forward_post_hook(keep)
