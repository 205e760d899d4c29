import pickle

import pytest
from ray.train import FailureConfig
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from ernie_ray.backend.failure_policy import FailurePolicy, own_error
from ernie_ray.errors import CheckpointError, ConfigError, DivergenceError

WRONG, FULL, LOST = ConfigError("wrong"), CheckpointError("disk full"), RuntimeError("peer lost")


def workers(*failures):
    return WorkerGroupError("failed", dict(enumerate(failures)))


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (workers(WRONG), FailureDecision.RAISE),
        (workers(DivergenceError("nan")), FailureDecision.RAISE),
        (workers(LOST, WRONG), FailureDecision.RAISE),
        (workers(FULL), FailureDecision.RETRY),
        (workers(LOST), FailureDecision.RETRY),
        (ControllerError(OSError("disk full")), FailureDecision.RAISE),
    ],
    ids=str,
)
def test_what_would_come_again_ends_the_run_and_what_may_not_does_not(error, decision):
    # As in the controller's process.
    policy = pickle.loads(pickle.dumps(FailurePolicy(FailureConfig(max_failures=3))))
    assert policy.make_decision(error) == decision


def test_other_failures_are_counted_as_ever():
    policy = FailurePolicy(FailureConfig(max_failures=1))
    assert policy.make_decision(workers(LOST)) == FailureDecision.RETRY
    assert policy.make_decision(workers(LOST)) == FailureDecision.RAISE


def test_the_error_that_is_shown_is_ours_and_first_the_one_that_recurs():
    assert own_error(workers(LOST, FULL, WRONG)) is WRONG
    assert own_error(workers(LOST, FULL)) is FULL
    assert own_error(workers(LOST)) is None
    assert own_error(ControllerError(WRONG)) is None
