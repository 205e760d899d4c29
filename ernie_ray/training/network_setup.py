"""What of a network is trained, and whether its activations are kept, as the recipe says."""

from __future__ import annotations

from ernie_ray.config import TrainingSection
from ernie_ray.errors import ConfigError
from ernie_ray.models.build import Network
from ernie_ray.models.encoder import Encoder
from ernie_ray.models.text_network import TextNetwork


def set_up_network(network: Network, settings: TrainingSection) -> None:
    """Freeze parameters and choose recomputation.

    Raises:
        ConfigError: A student is asked for what only an encoder has.
    """
    frozen = []
    if settings.freeze_embeddings or settings.freeze_layers:
        frozen += list(network.embedding_parameters())
    if settings.freeze_layers:
        for layer in _encoder_of(network, "freeze_layers").layers[: settings.freeze_layers]:
            frozen += layer.parameters()
    for parameter in frozen:
        parameter.stop_gradient = True
    if settings.recompute:
        _encoder_of(network, "recompute").recomputes = True


def _encoder_of(network: Network, setting: str) -> Encoder:
    if not isinstance(network, TextNetwork):
        raise ConfigError(f"training.{setting}: a student has no layers; remove it")
    return network.encoder
