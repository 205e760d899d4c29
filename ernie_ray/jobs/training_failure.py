"""Say of a failed training what went wrong, in one line."""

from __future__ import annotations

from ray.train import TrainingFailedError

from ernie_ray.backend import own_error
from ernie_ray.errors import CheckpointError, ErnieRayError

_REMEDY = "running the same command again goes on from the last checkpoint"


def explained(error: TrainingFailedError) -> ErnieRayError:
    """The workers' own error where they raised one of ours; else a line of theirs or of Ray's."""
    if (own := own_error(error)) is not None:
        return own
    failures = getattr(error, "worker_failures", {}) or {}
    for rank, failure in sorted(failures.items()):
        # The last line of a traceback is the error.
        return ErnieRayError(
            f"training failed on worker {rank}: {_lines_of(failure)[-1]}; {_REMEDY}"
        )
    cause = getattr(error, "controller_failure", error)
    return CheckpointError(f"training failed: {_lines_of(cause)[0]}; {_REMEDY}")


def _lines_of(error: BaseException) -> list[str]:
    return str(error).strip().splitlines() or [repr(error)]
