"""The fine-tuning loop: data-parallel steps, evaluation and checkpoints.

Knows no task family by name, no files but checkpoints, and nothing of Ray: whoever runs it gives a
``Reporter``. One worker and many compute the same thing: gradients are sums over rows, divided by
the rows of the global batch.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import paddle
from numpy.typing import NDArray

from ernie_ray.config import TrainingSection
from ernie_ray.models.build import Network
from ernie_ray.models.encoder import load_weights, read_weights
from ernie_ray.tasks import TaskFamily
from ernie_ray.tasks.metric_choice import choose_metric
from ernie_ray.text.cache import FeatureCache
from ernie_ray.text.features import pad_batch
from ernie_ray.training.batch_plan import BatchPlan, EpochRows
from ernie_ray.training.checkpoint import Checkpoint, Position, write_checkpoint
from ernie_ray.training.class_losses import loss_of
from ernie_ray.training.collective import WorkerGroup
from ernie_ray.training.divergence import refuse_divergence
from ernie_ray.training.network_setup import set_up_network
from ernie_ray.training.objective import LabelObjective, Objective
from ernie_ray.training.optimizer import AdamW, LinearSchedule
from ernie_ray.training.patience import Patience
from ernie_ray.training.precision import Precision


class Reporter(Protocol):
    """Where a training worker sends what happens."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Take one line of training metrics; called on rank 0, must not block."""

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None) -> None:
        """Take an evaluation with its checkpoint; called by every worker equally often.

        ``checkpoint_dir`` is given on rank 0 only and vanishes after the call.
        """


@dataclass(frozen=True)
class TrainingData:
    """Tokenized rows of a run.

    Attributes:
        train: Rows to learn from.
        dev: Rows to choose the best checkpoint by, or None.
        pad_token_id: Fills batches up.
        epochs: What epochs are made of, by their first one; before those, of every row once.
    """

    train: FeatureCache
    dev: FeatureCache | None
    pad_token_id: int
    epochs: tuple[EpochRows, ...] = ()


@dataclass
class _Window:
    """Sums since the last line of metrics."""

    loss_sum: float = 0.0
    num_rows: int = 0
    num_tokens: int = 0
    started_at: float = 0.0


class TrainingLoop:
    """Trains one network on one worker of a group."""

    def __init__(
        self,
        network: Network,
        data: TrainingData,
        settings: TrainingSection,
        *,
        family: TaskFamily,
        group: WorkerGroup,
        reporter: Reporter,
        objective: Objective | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            network: Starts from the weights it has.
            data: Rows to learn from and to measure on.
            settings: The optimisation.
            family: Gives the metrics and, without an ``objective``, the loss.
            group: This worker's place among the others.
            reporter: Where metrics and checkpoints go.
            objective: What is minimised; None: the family's loss on the labels.

        Raises:
            ConfigError: The network, the device or the task lacks what the settings ask for.
        """
        set_up_network(network, settings)
        self._metric = choose_metric(family, settings.metric, "training.metric")
        self._network = network
        self._data = data
        self._settings = settings
        self._family = family
        self._group = group
        self._reporter = reporter
        self._objective = objective or LabelObjective(
            loss_of(family.loss, settings, data.train, network.task)
        )
        self._plan = BatchPlan(
            data.train.lengths, settings.global_batch_size, settings.seed, data.epochs
        )
        self._num_steps = self._count_steps()
        self._schedule = LinearSchedule(
            settings.learning_rate,
            round(settings.warmup_fraction * self._num_steps),
            self._num_steps,
        )
        self._optimizer = AdamW(network, settings)
        self._precision = Precision(settings.precision)
        self._position = Position()
        self._metrics: dict[str, float] = {}
        self._evaluations: tuple[dict[str, float], ...] = ()
        self._patience = Patience()
        self._window = _Window()

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self._num_steps

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint stands.

        Raises:
            CheckpointError: It is of another network.
        """
        load_weights(self._network, checkpoint.weights)
        self._optimizer.load_state(dict(checkpoint.optimizer))
        self._position = checkpoint.position
        self._metrics = dict(checkpoint.metrics)
        self._evaluations = checkpoint.evaluations
        self._patience = checkpoint.patience
        self._precision.loss_scale = checkpoint.loss_scale

    def run(self) -> dict[str, float]:
        """Train to the end.

        Returns:
            The metrics of the last evaluation.

        Raises:
            DivergenceError: The loss is no number any more.
            CheckpointError: A checkpoint cannot be written.
        """
        self._window = _Window(started_at=time.monotonic())
        for indices in self._remaining_batches():
            self._train_step(indices)
            if self._position.step % self._settings.log_every_steps == 0 or self._is_last():
                self._log()
            if self._evaluates_now():
                self._checkpoint()
        return self._metrics

    def _count_steps(self) -> int:
        settings = self._settings
        planned = sum(self._plan.num_steps(epoch) for epoch in range(settings.num_epochs))
        return min(planned, settings.max_steps) if settings.max_steps else planned

    def _remaining_batches(self) -> Iterator[NDArray[np.int64]]:
        """Rows of this worker in each step that is still to do; advances the position."""
        while self._position.step < self._num_steps and not self._has_lost_patience():
            epoch, step = self._position.epoch, self._position.step_in_epoch
            if step == self._plan.num_steps(epoch):
                self._position = Position(epoch=epoch + 1, step=self._position.step)
                continue
            # Dropout is seeded by the position, so a resumed run draws what it would have drawn.
            paddle.seed(_step_seed(self._settings.seed, self._position.step, self._group.rank))
            indices = self._plan.shard(epoch, step, self._group.rank, self._group.world_size)
            self._position = Position(
                epoch=epoch, step_in_epoch=step + 1, step=self._position.step + 1
            )
            yield indices

    def _train_step(self, indices: NDArray[np.int64]) -> None:
        """One optimizer step over the global batch whose rows ``indices`` fall to this worker."""
        self._network.train()
        position = self._position
        num_global_rows = len(self._plan.global_batch(position.epoch, position.step_in_epoch - 1))
        size = self._settings.per_worker_batch_size
        for start in range(0, len(indices), size):
            chosen = indices[start : start + size]
            logits, num_tokens = self._forward(self._data.train, chosen)
            loss = self._objective(logits, self._data.train, chosen, position.epoch)
            self._precision.scaled(loss / num_global_rows).backward()
            self._window.loss_sum += float(loss)
            self._window.num_tokens += num_tokens
        if not len(indices):
            self._fill_missing_gradients()
        self._window.num_rows += len(indices)
        self._group.sum_gradients(self._optimizer.parameters)
        if self._precision.unscale(self._optimizer.parameters):
            self._optimizer.step(self._schedule.at(position.step - 1))
        else:
            self._optimizer.skip_step()

    def _fill_missing_gradients(self) -> None:
        """Give a worker without rows (the last, short batch) the zero gradients it must send."""
        row = np.zeros(1, dtype=np.int64)
        logits, _ = self._forward(self._data.train, row)
        # Through the objective: it may leave parameters out that the logits depend on, or add some.
        loss = self._objective(logits, self._data.train, row, self._position.epoch)
        (loss * 0.0).backward()

    def _forward(
        self, cache: FeatureCache, indices: NDArray[np.int64]
    ) -> tuple[paddle.Tensor, int]:
        batch = pad_batch(cache.rows(indices), pad_token_id=self._data.pad_token_id)
        with self._precision.forward():
            output = self._network(
                paddle.to_tensor(batch.input_ids),
                paddle.to_tensor(batch.token_type_ids),
                paddle.to_tensor(batch.attention_mask),
            )
        # A network without a head has none; its objective looks inside.
        logits = None if output.logits is None else output.logits.astype("float32")
        return logits, int(batch.attention_mask.sum())

    def _has_lost_patience(self) -> bool:
        limit = self._settings.patience_evaluations
        return 0 < limit <= self._patience.num_stale

    def _is_last(self) -> bool:
        return self._position.step == self._num_steps

    def _evaluates_now(self) -> bool:
        every = self._settings.eval_every_steps
        at_epoch_end = self._position.step_in_epoch == self._plan.num_steps(self._position.epoch)
        due = self._position.step % every == 0 if every else at_epoch_end
        return due or self._is_last()

    def _log(self) -> None:
        loss_sum, num_rows, num_tokens = self._window_sums()
        seconds = max(time.monotonic() - self._window.started_at, 1e-9)
        line = {
            "step": self._position.step,
            "num_steps": self._num_steps,
            "epoch": self._position.epoch,
            "loss": loss_sum / max(num_rows, 1),
            "learning_rate": self._schedule.at(self._position.step - 1),
            "rows_per_s": num_rows / seconds,
            "tokens_per_s": num_tokens / seconds,
        }
        if self._precision.scales_loss:
            line["loss_scale"] = self._precision.loss_scale.factor
        if self._group.rank == 0:
            self._reporter.log(line)
        self._window = _Window(started_at=time.monotonic())

    def _window_sums(self) -> tuple[float, float, float]:
        """Loss, rows and tokens of all workers since the last line; a diverged training stops."""
        window = self._window
        sums = np.array([window.loss_sum, window.num_rows, window.num_tokens], dtype=np.float32)
        loss_sum, num_rows, num_tokens = self._group.sum_array(sums).tolist()
        # In fp16 such a step is left out and the weights are whole, down to the smallest factor.
        if not self._precision.can_scale_down:
            # Every worker has the same sum, so all stop at the same step.
            refuse_divergence(loss_sum, self._position.step, self._settings)
        return loss_sum, num_rows, num_tokens

    def _checkpoint(self) -> None:
        """Evaluate, write a checkpoint on rank 0 and report both; none of a diverged training."""
        self._window_sums()
        self._metrics = self._evaluate()
        # Every worker has the same metrics, so all stop at the same step.
        self._patience = self._patience.after(self._metric.score(self._metrics))
        metrics = {"step": self._position.step, **self._metrics}
        self._evaluations += (metrics,)
        if self._group.rank == 0:
            with tempfile.TemporaryDirectory(prefix="ernie-ray-checkpoint-") as name:
                write_checkpoint(
                    Path(name),
                    Checkpoint(
                        position=self._position,
                        weights=read_weights(self._network),
                        optimizer=self._optimizer.state(),
                        metrics=self._metrics,
                        evaluations=self._evaluations,
                        patience=self._patience,
                        loss_scale=self._precision.loss_scale,
                    ),
                )
                self._reporter.report(metrics, Path(name))
        else:
            self._reporter.report(metrics, None)
        self._window = _Window(started_at=time.monotonic())

    def _evaluate(self) -> dict[str, float]:
        """Dev metrics, each worker running its share of the rows."""
        dev = self._data.dev
        if dev is None:
            return {}
        longest = int(dev.lengths.max(initial=0))
        kept = np.zeros((len(dev), *self._family.kept_shape(longest)), dtype=np.float32)
        order = np.argsort(dev.lengths, kind="stable")[self._group.rank :: self._group.world_size]
        self._network.eval()
        with paddle.no_grad():
            for start in range(0, len(order), self._settings.per_worker_batch_size):
                chosen = order[start : start + self._settings.per_worker_batch_size]
                found = self._family.kept(self._forward(dev, chosen)[0].numpy())
                # What has one entry per token is as long as the longest row of its batch.
                kept[chosen, : found.shape[1]] = found
        # Rows of other workers are zero here, so the sum puts the table together.
        kept = self._group.sum_array(kept)
        return self._family.metrics(kept, dev.labels(np.arange(len(dev))), dev.infos())


def _step_seed(seed: int, step: int, rank: int) -> int:
    """A 31-bit seed that differs between steps and workers."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0] >> 1)
