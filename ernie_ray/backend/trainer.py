"""``PaddleTrainer``: Ray Train's data-parallel trainer with Paddle's process group around it."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable
from typing import Any

from ray.train import Result, RunConfig, ScalingConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from ernie_ray.backend.failure_policy import FailurePolicy
from ernie_ray.backend.rendezvous import PaddleConfig


class PaddleTrainer(DataParallelTrainer):
    """Run a function on every training worker, inside one Paddle process group.

    In the function ``paddle.distributed`` is initialised (with more than one worker), the device is
    set, and ``ray.train.get_context()``, ``report`` and ``get_checkpoint`` work as in every Ray
    trainer. Fine-tuning uses it through ``ernie_ray.jobs.finetune``; it is useful alone, too.
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[[dict[str, Any]], None],
        *,
        train_loop_config: dict[str, Any] | None = None,
        paddle_config: PaddleConfig | None = None,
        scaling_config: ScalingConfig | None = None,
        run_config: RunConfig | None = None,
    ) -> None:
        """Describe a run; ``fit()`` starts it.

        Args:
            train_loop_per_worker: Runs on every worker with ``train_loop_config``.
            train_loop_config: Must pickle; give paths, not models.
            paddle_config: How workers talk; by default NCCL on GPUs and gloo on CPUs.
            scaling_config: How many workers, with which resources.
            run_config: Name, storage, failures and checkpoints. After an error of ours that
                recurs, a wrong setting say, the run ends, whatever number of failures is allowed.
        """
        super().__init__(
            train_loop_per_worker,
            train_loop_config=train_loop_config,
            backend_config=paddle_config or PaddleConfig(),
            scaling_config=scaling_config,
            run_config=run_config,
        )

    def _create_default_callbacks(self) -> list[Any]:
        # This trainer takes no Ray datasets: an actor that hands out none would only cost a process
        # start at each start of the workers.
        with warnings.catch_warnings():
            # Ray Data sets its own deprecated options when it is first used.
            warnings.simplefilter("ignore", DeprecationWarning)
            callbacks = super()._create_default_callbacks()
        return [one for one in callbacks if not isinstance(one, DatasetsCallback)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Result:
        arguments["failure_policy"] = FailurePolicy(self.run_config.failure_config)
        return super()._initialize_and_run_controller(**arguments)

    def fit(self) -> Result:
        """Run it; see ``DataParallelTrainer.fit``.

        Raises:
            KeyboardInterrupt: Ctrl-C; the workers have been stopped.
            TrainingFailedError: It failed more often than the run configuration allows.
        """
        # Ray answers Ctrl-C by stopping the workers, and then ends the process with a status that
        # says nothing; it also leaves its handler behind, which would end what comes after.
        handler = signal.getsignal(signal.SIGINT)
        try:
            return super().fit()
        except SystemExit:
            raise KeyboardInterrupt from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, handler)
