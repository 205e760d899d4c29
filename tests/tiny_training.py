"""A training loop over tiny networks on this process's device, without Ray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import paddle

from ernie_ray.config import TrainingSection
from ernie_ray.models.encoder import load_weights, read_weights
from ernie_ray.models.pretrained import PretrainedEncoder
from ernie_ray.models.text_network import TextNetwork
from ernie_ray.tasks import family_of
from ernie_ray.text.cache import FeatureCache
from ernie_ray.training.checkpoint import Checkpoint, read_checkpoint
from ernie_ray.training.collective import WorkerGroup
from ernie_ray.training.loop import TrainingData, TrainingLoop
from tests.tiny_models import SPEC, tiny_encoder


class ListReporter:
    """Keeps what it is told, and the checkpoints."""

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []
        self.evaluations: list[dict[str, float]] = []
        self.checkpoints: list[Checkpoint] = []

    def log(self, metrics: Mapping[str, float]) -> None:
        self.lines.append(dict(metrics))

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None) -> None:
        assert checkpoint_dir is not None  # of rank 0
        self.evaluations.append(dict(metrics))
        self.checkpoints.append(read_checkpoint(checkpoint_dir))


def build(
    caches: tuple[FeatureCache, FeatureCache],
    *,
    pretrained: PretrainedEncoder | None = None,
    **changes: object,
) -> tuple[TrainingLoop, TextNetwork, ListReporter]:
    """A loop over training and dev rows, its network, and what it will have reported."""
    settings = TrainingSection(
        **{
            "num_epochs": 2,
            "global_batch_size": 16,
            "per_worker_batch_size": 16,
            "learning_rate": 3e-3,
            "log_every_steps": 1,
            **changes,
        }
    )
    pretrained = pretrained or tiny_encoder()
    paddle.seed(settings.seed)
    network = TextNetwork(
        pretrained.config, pooling=pretrained.pooling, task=SPEC, dropout=settings.dropout
    )
    load_weights(network.encoder, pretrained.weights)
    reporter = ListReporter()
    loop = TrainingLoop(
        network,
        TrainingData(train=caches[0], dev=caches[1], pad_token_id=0),
        settings,
        family=family_of(SPEC),
        group=WorkerGroup(),
        reporter=reporter,
    )
    return loop, network, reporter


def assert_equal_weights(a: TextNetwork, b: TextNetwork) -> None:
    """Bit for bit."""
    for (name, left), right in zip(read_weights(a).items(), read_weights(b).values(), strict=True):
        np.testing.assert_array_equal(left, right, err_msg=name)
