"""Which failures of workers a training is started again after: not those that would come again.

Ray Train counts them all alike. Four starts of all workers would pass before the user is told that
a setting is wrong.
"""

from __future__ import annotations

from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from ernie_ray.errors import ErnieRayError


class FailurePolicy(DefaultFailurePolicy):
    """Ray Train's own, but for errors of ours that recur."""

    def _is_retryable_error(self, training_failed_error: TrainingFailedError) -> bool:
        own = own_error(training_failed_error)
        if own is not None and own.recurs:
            return False
        return bool(super()._is_retryable_error(training_failed_error))


def own_error(error: TrainingFailedError) -> ErnieRayError | None:
    """Give the error of ours that a worker raised; that of others may be its consequence.

    One that recurs goes before others, and a lower rank's before a higher one's.
    """
    if not isinstance(error, WorkerGroupError):
        return None
    failures = [failure for _, failure in sorted(error.worker_failures.items())]
    own = [failure for failure in failures if isinstance(failure, ErnieRayError)]
    return min(own, key=lambda failure: not failure.recurs, default=None)
