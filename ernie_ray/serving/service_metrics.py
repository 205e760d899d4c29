"""What the service counts: one name for each number, used by the dashboard too.

Every name starts with ``ernie_ray_``; seconds and tokens are in the names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ernie_ray.inference.batcher import BatchDone
from ernie_ray.serving.ask import Result
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.meters import COUNTS, SECONDS, Histogram, Meters


class ModelMetrics:
    """Numbers of one model's engine and queue, in the replica that runs it."""

    def __init__(self, meters: Meters, model: str) -> None:
        """Make the meters of a model."""
        self._meters = meters
        self._model = model
        self._wait_s = meters.histogram("ernie_ray_batch_wait_seconds", SECONDS, model=model)
        self._forward_s = meters.histogram("ernie_ray_batch_forward_seconds", SECONDS, model=model)
        self._texts = meters.histogram("ernie_ray_batch_texts", COUNTS, model=model)
        self._tokens = meters.histogram("ernie_ray_batch_tokens", COUNTS, model=model)
        self._real = meters.counter("ernie_ray_tokens_total", model=model)
        self._busy_s = meters.counter("ernie_ray_engine_busy_seconds_total", model=model)
        self._padded = meters.counter("ernie_ray_padded_tokens_total", model=model)

    def on_batch(self, batch: BatchDone) -> None:
        """Count one batch; padding waste is 1 - tokens / padded tokens."""
        self._wait_s.add(batch.wait_s)
        self._forward_s.add(batch.forward_s)
        self._busy_s.add(batch.forward_s)
        self._texts.add(batch.num_texts)
        self._tokens.add(batch.num_tokens)
        self._real.add(batch.num_tokens)
        self._padded.add(batch.num_padded_tokens)

    def watch(self, runner: LocalRunner) -> None:
        """Export the queue of a runner."""
        batcher, model = runner.batcher, self._model
        self._meters.gauge("ernie_ray_queue_tokens", lambda: batcher.num_queued_tokens, model=model)
        self._meters.gauge("ernie_ray_queue_texts", lambda: batcher.num_queued_texts, model=model)


def tell_process(meters: Meters, environ: Mapping[str, str]) -> None:
    """Export which process this replica is, and the GPUs that its engines see.

    Args:
        meters: Of the replica.
        environ: Ray sets ``CUDA_VISIBLE_DEVICES`` for a replica that asked for (a part of) a GPU.
    """
    gpus = environ.get("CUDA_VISIBLE_DEVICES", "")
    meters.gauge("ernie_ray_replica_info", lambda: 1.0, pid=str(os.getpid()), gpus=gpus)


class RequestMetrics:
    """Numbers of the requests that one replica answers."""

    def __init__(self, meters: Meters) -> None:
        """Make the meters as models and statuses appear."""
        self.meters = meters
        self._stages: dict[str, tuple[Histogram, Histogram, Histogram, Histogram, Histogram]] = {}

    def answered(self, model: str, result: Result, serialise_s: float, total_s: float) -> None:
        """Count the stages of one answered request.

        Args:
            model: A served model's name.
            result: Times of tokenizing, queue and forward.
            serialise_s: Seconds spent on writing the reply.
            total_s: Seconds from the request's headers to its reply.
        """
        if model not in self._stages:
            self._stages[model] = tuple(
                self.meters.histogram("ernie_ray_stage_seconds", SECONDS, model=model, stage=stage)
                for stage in ("tokenize", "queue", "forward", "serialise", "total")
            )  # type: ignore[assignment]  # a generator of five
        tokenize, queue, forward, serialise, total = self._stages[model]
        tokenize.add(result.tokenize_s)
        queue.add(result.queue_s)
        forward.add(result.forward_s)
        serialise.add(serialise_s)
        total.add(total_s)

    def replied(self, route: str, status: int, reason: str) -> None:
        """Count one reply.

        Args:
            route: A path of the service, never what a client made up.
            status: HTTP status.
            reason: The error's type; empty if there is none.
        """
        self.meters.counter("ernie_ray_requests_total", route=route, status=str(status)).add()
        if reason:
            self.meters.counter("ernie_ray_rejections_total", route=route, reason=reason).add()
