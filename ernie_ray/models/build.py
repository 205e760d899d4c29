"""Build the network that a start folder describes: an encoder with a head, or a student."""

from __future__ import annotations

from pathlib import Path

from ernie_ray.modeldir import EncoderConfig, Pooling
from ernie_ray.models.encoder import load_weights, read_weights
from ernie_ray.models.start import StartSpec, read_encoder_weights, read_warm_weights
from ernie_ray.models.students import StudentNetwork
from ernie_ray.models.text_network import TextNetwork

Network = TextNetwork | StudentNetwork


def build_network(spec: StartSpec, *, dropout: float = 0.0) -> Network:
    """Build with random weights, drawn from Paddle's generator."""
    if isinstance(spec.network, EncoderConfig):
        pooling = spec.pooling or Pooling.MEAN
        return TextNetwork(spec.network, pooling=pooling, task=spec.task, dropout=dropout)
    return StudentNetwork(
        spec.network,
        task=spec.task,
        dropout=dropout,
        token_dropout=spec.token_dropout,
        embedding_std=spec.embedding_std,
    )


def load_start_weights(network: Network, start: Path) -> None:
    """Give an encoder its pretrained weights, and those of a warm start in their place.

    A student starts from what it was built with.
    """
    if isinstance(network, TextNetwork):
        load_weights(network.encoder, read_encoder_weights(start))
        load_weights(network, read_weights(network) | read_warm_weights(start))
