"""The run folder: what one fine-tuning run leaves, and where.

recipe.json        the resolved recipe
start/             pretrained encoder, tokenizer and task, as the workers read them; after a warm
                   start also warm_start.json: which parameters were taken, left and missing
features/          tokenized rows
train/             Ray Train's folder: checkpoints
metrics.jsonl      one line of training metrics per interval, one per evaluation
model/             the exported model directory
evaluation.json    metrics, tables and wrong rows of the test rows
result.json        what the run came to
report.html        all of this for a reader: one file that needs no network
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ernie_ray.errors import CheckpointError
from ernie_ray.training.checkpoint import STATE, read_state

RECIPE = "recipe.json"
START = "start"
FEATURES = "features"
WARM_START = "warm_start.json"
EVALUATION = "evaluation.json"
REPORT = "report.html"
TRAIN = "train"
METRICS = "metrics.jsonl"
MODEL = "model"
RESULT = "result.json"


@dataclass(frozen=True)
class WholeCheckpoint:
    """A checkpoint that was written to its end.

    Attributes:
        path: Its folder.
        step: Optimizer steps behind it.
        metrics: Dev metrics; empty without a dev set.
    """

    path: Path
    step: int
    metrics: dict[str, float]


def find_checkpoints(run: Path) -> list[WholeCheckpoint]:
    """List the whole checkpoints of a run folder on this machine, oldest first."""
    found = []
    for file in sorted((run / TRAIN).glob(f"checkpoint_*/{STATE}")):
        with suppress(CheckpointError):  # an interrupted copy; it is never taken
            state = read_state(file.parent)
            found.append(WholeCheckpoint(file.parent, state.position.step, state.metrics))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def best_checkpoint(run: Path, metric: str) -> WholeCheckpoint:
    """Choose the checkpoint with the highest metric; the last one where none was measured.

    Raises:
        CheckpointError: The run has no whole checkpoint.
    """
    checkpoints = find_checkpoints(run)
    if not checkpoints:
        raise CheckpointError(
            f"{run}: no whole checkpoint; run `ernie-ray finetune` with this --output first"
        )
    return max(checkpoints, key=lambda c: (c.metrics.get(metric, float("-inf")), c.step))
