"""What runs on each Ray Train worker: build the network from paths, train, report.

The module imports nothing that loads Paddle: a worker unpickles ``train_worker`` by name before the
variables that Paddle reads at import are set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
from pydantic import BaseModel, ConfigDict, Field

from ernie_ray.config import DistillationSection, Lesson, TrainingSection
from ernie_ray.jobs.checkpoint_snapshot import reported
from ernie_ray.jobs.storage import Storage
from ernie_ray.tasks.metric_choice import MetricChoice, choose_metric
from ernie_ray.training.checkpoint import explained_write
from ernie_ray.training.freed_memory import keep_freed_memory


class TrainWorkerArgs(BaseModel):
    """What a worker needs to know; paths and URIs, never arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: str = Field(description="Start folder.")
    train_features: str = Field(description="Feature cache to learn from.")
    dev_features: str = Field("", description="Feature cache to choose checkpoints by.")
    training: TrainingSection
    distillation: DistillationSection | Lesson | None = Field(
        None, description="How a student learns; none: from labels, with the task's loss."
    )
    log_actor: str = Field(description="Name of the run's ``MetricsBuffer``.")


class RayReporter:
    """Sends lines to the driver's buffer and checkpoints to Ray Train."""

    def __init__(self, log_actor: str, metric: MetricChoice) -> None:
        """Find the buffer.

        Args:
            log_actor: Its name.
            metric: What Ray Train shall choose checkpoints by.
        """
        self._buffer = ray.get_actor(log_actor)
        self._metric = metric

    def log(self, metrics: Mapping[str, float]) -> None:
        """Send a line without waiting for it to arrive."""
        self._buffer.append.remote(dict(metrics))

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None) -> None:
        """Hand the score and, on rank 0, the checkpoint to Ray Train; waits for all workers."""
        scored = reported(metrics["step"], self._metric.score(metrics))
        if checkpoint_dir is None:
            ray.train.report(scored)
            return
        self.log(metrics)
        checkpoint = ray.train.Checkpoint.from_directory(checkpoint_dir)
        with explained_write(int(metrics["step"])):
            ray.train.report(scored, checkpoint=checkpoint)


def train_worker(config: dict[str, Any]) -> None:
    """Train on this worker until the run is done; goes on from Ray Train's last checkpoint."""
    keep_freed_memory()
    import paddle

    from ernie_ray.distillation.epoch_rows import epoch_rows
    from ernie_ray.distillation.frozen_teacher import FrozenTeacher
    from ernie_ray.distillation.objective import DistillationObjective
    from ernie_ray.distillation.transfer import Pupil, TransferObjective
    from ernie_ray.models.build import build_network, load_start_weights
    from ernie_ray.models.start import read_spec
    from ernie_ray.models.text_network import TextNetwork
    from ernie_ray.tasks import family_of
    from ernie_ray.text.cache import FeatureCache
    from ernie_ray.training.batch_plan import EpochRows
    from ernie_ray.training.checkpoint import read_checkpoint
    from ernie_ray.training.class_losses import row_loss_of
    from ernie_ray.training.collective import WorkerGroup
    from ernie_ray.training.loop import TrainingData, TrainingLoop

    args = TrainWorkerArgs.model_validate(config)
    storage = Storage()
    start = storage.fetch(args.start)
    spec = read_spec(start)
    paddle.seed(args.training.seed)  # the head's first weights, equal on every worker
    network = build_network(spec, dropout=args.training.dropout)
    load_start_weights(network, start)
    train = FeatureCache.open(storage.fetch(args.train_features))
    dev = FeatureCache.open(storage.fetch(args.dev_features)) if args.dev_features else None
    objective: DistillationObjective | TransferObjective | None = None
    epochs: tuple[EpochRows, ...] = ()
    if (lesson := args.distillation) is not None:
        logits = lesson.logits if isinstance(lesson, Lesson) else lesson
        answers = None
        if logits is not None:
            num_epochs = args.training.num_epochs
            epochs = epoch_rows(train, logits, num_epochs)
            hard_loss = row_loss_of(args.training, train, spec.task)
            first_hard_epoch = num_epochs - logits.hard_epochs
            answers = DistillationObjective(logits, spec.task, first_hard_epoch, hard_loss)
        objective = answers
        if isinstance(lesson, Lesson):
            assert isinstance(network, TextNetwork)  # lessons are for encoders
            teacher = None
            if lesson.teacher:
                folder = storage.fetch(lesson.teacher)
                teacher = FrozenTeacher(folder, lesson, num_threads=_num_threads())
            pupil = Pupil(network, spec, start)
            objective = TransferObjective(pupil, teacher, lesson, answers)
    context = ray.train.get_context()
    family = family_of(spec.task)
    metric = choose_metric(family, args.training.metric, "training.metric")
    group = WorkerGroup(context.get_world_rank(), context.get_world_size())
    loop = TrainingLoop(
        network,
        TrainingData(train=train, dev=dev, pad_token_id=spec.network.pad_token_id, epochs=epochs),
        args.training,
        family=family,
        group=group,
        reporter=RayReporter(args.log_actor, metric),
        objective=objective,
    )
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            loop.resume(read_checkpoint(Path(folder)))
    loop.run()


def _num_threads() -> int | None:
    """As many as Paddle has; see ``ernie_ray.environment.training_worker_environment``."""
    return int(os.environ.get("OMP_NUM_THREADS", "0")) or None
