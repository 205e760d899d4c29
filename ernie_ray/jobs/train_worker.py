"""What runs on each Ray Train worker: build the network from paths, train, report.

The module imports nothing that loads Paddle: a worker unpickles ``train_worker`` by name before the
variables that Paddle reads at import are set.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
from pydantic import BaseModel, ConfigDict, Field

from ernie_ray.config import TrainingSection
from ernie_ray.jobs.storage import Storage


class TrainWorkerArgs(BaseModel):
    """What a worker needs to know; paths and URIs, never arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: str = Field(description="Start folder.")
    train_features: str = Field(description="Feature cache to learn from.")
    dev_features: str = Field("", description="Feature cache to choose checkpoints by.")
    training: TrainingSection
    log_actor: str = Field(description="Name of the run's ``MetricsBuffer``.")


class RayReporter:
    """Sends lines to the driver's buffer and checkpoints to Ray Train."""

    def __init__(self, log_actor: str) -> None:
        self._buffer = ray.get_actor(log_actor)

    def log(self, metrics: Mapping[str, float]) -> None:
        """Send a line without waiting for it to arrive."""
        self._buffer.append.remote(dict(metrics))

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None) -> None:
        """Hand metrics and, on rank 0, the checkpoint to Ray Train; waits for all workers."""
        if checkpoint_dir is None:
            ray.train.report(dict(metrics))
            return
        self.log(metrics)
        checkpoint = ray.train.Checkpoint.from_directory(checkpoint_dir)
        ray.train.report(dict(metrics), checkpoint=checkpoint)


def train_worker(config: dict[str, Any]) -> None:
    """Train on this worker until the run is done; goes on from Ray Train's last checkpoint."""
    import paddle

    from ernie_ray.models.encoder import load_weights, read_weights
    from ernie_ray.models.start import read_encoder_weights, read_spec, read_warm_weights
    from ernie_ray.models.text_network import TextNetwork
    from ernie_ray.tasks import family_of
    from ernie_ray.text.cache import FeatureCache
    from ernie_ray.training.checkpoint import read_checkpoint
    from ernie_ray.training.collective import WorkerGroup
    from ernie_ray.training.loop import TrainingData, TrainingLoop

    args = TrainWorkerArgs.model_validate(config)
    storage = Storage()
    start = storage.fetch(args.start)
    spec = read_spec(start)
    paddle.seed(args.training.seed)  # the head's first weights, equal on every worker
    network = TextNetwork(
        spec.network, pooling=spec.pooling, task=spec.task, dropout=args.training.dropout
    )
    load_weights(network.encoder, read_encoder_weights(start))
    load_weights(network, read_weights(network) | read_warm_weights(start))
    dev = FeatureCache.open(storage.fetch(args.dev_features)) if args.dev_features else None
    context = ray.train.get_context()
    group = WorkerGroup(context.get_world_rank(), context.get_world_size())
    loop = TrainingLoop(
        network,
        TrainingData(
            train=FeatureCache.open(storage.fetch(args.train_features)),
            dev=dev,
            pad_token_id=spec.network.pad_token_id,
        ),
        args.training,
        family=family_of(spec.task),
        group=group,
        reporter=RayReporter(args.log_actor),
    )
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            loop.resume(read_checkpoint(Path(folder)))
    loop.run()
