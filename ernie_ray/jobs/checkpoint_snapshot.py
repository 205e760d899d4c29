"""Ray Train's list of a run's checkpoints: what is looked at in it, and how it is made anew.

Ray Train writes the list in place after each checkpoint. What ends its controller just then, be it
a full disk, leaves half a list, which no later attempt could read though all checkpoints are there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import (
    _CheckpointManagerState,
    _TrainingResultState,
)

from ernie_ray.jobs import runs
from ernie_ray.jobs.storage import Storage
from ernie_ray.tasks.metric_choice import MetricChoice

SCORE = "score"
"""What Ray Train orders checkpoints by: more is better, whichever metric decides."""

SNAPSHOT = f"{runs.TRAIN}/{CHECKPOINT_MANAGER_SNAPSHOT_FILENAME}"


def reported(step: float, score: float | None) -> dict[str, float]:
    """What Ray Train is told of a checkpoint; finite, as its list knows no other numbers."""
    return {"step": step} if score is None else {"step": step, SCORE: score}


def mend_snapshot(run: str, metric: MetricChoice | None, storage: Storage) -> None:
    """Make the list anew from the whole checkpoints, unless it can be used as it is.

    Args:
        run: The run folder.
        metric: What decides over checkpoints; None: only the order in time.
        storage: Resolves the run folder.

    Raises:
        DataError: The folder cannot be read or written.
    """
    if not storage.exists(f"{run}/{runs.TRAIN}") or _is_usable(run, metric, storage):
        return
    local_run = storage.fetch(f"{run}/{runs.TRAIN}").parent
    checkpoints = runs.find_checkpoints(local_run)
    if not checkpoints:
        storage.remove(f"{run}/{SNAPSHOT}")
        return
    runs.write_text(_snapshot_of(checkpoints, metric), f"{run}/{SNAPSHOT}", storage)


def _is_usable(run: str, metric: MetricChoice | None, storage: Storage) -> bool:
    """Whether Ray Train can read the list, and finds each checkpoint of it with its score."""
    name = f"{run}/{SNAPSHOT}"
    if not storage.exists(name):
        return False
    try:
        found = json.loads(storage.fetch(name).read_bytes())
        listed = _CheckpointManagerState.model_validate(found).checkpoint_results
    except (ValueError, ValidationError):
        return False
    names = set(storage.names_in(f"{run}/{runs.TRAIN}"))
    return all(
        result.checkpoint_dir_name in names
        and (metric is None or isinstance(result.metrics.get(SCORE), int | float))
        for result in listed
    )


def _snapshot_of(checkpoints: Sequence[runs.WholeCheckpoint], metric: MetricChoice | None) -> str:
    """The list as Ray Train would have written it: the best last, by time without a metric."""
    entries: list[tuple[float, int, Any]] = []
    for index, checkpoint in enumerate(checkpoints):
        score = None if metric is None else metric.score(checkpoint.metrics)
        entry = _TrainingResultState(
            checkpoint_dir_name=checkpoint.path.name, metrics=reported(checkpoint.step, score)
        )
        entries.append((score or 0.0, index, entry))
    latest = entries[-1][2]
    entries.sort(key=lambda entry: entry[:2])
    state = _CheckpointManagerState(
        checkpoint_results=[entry for _, _, entry in entries],
        checkpoint_report_indices=[index for _, index, _ in entries],
        latest_checkpoint_result=latest,
        pending_training_results=[],
        pending_validation_specs=[],
        current_report_index=len(entries),
        validated_checkpoint_dir_names=[],
        timed_out_validation_checkpoint_dir_names=[],
        failed_validation_checkpoint_dir_names=[],
    )
    return str(state.model_dump_json())
