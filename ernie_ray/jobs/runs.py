"""The run folder: what one fine-tuning run leaves, and where.

recipe.json        the resolved recipe
rows.json          digests of the training and dev rows it was begun with
start/             pretrained encoder, tokenizer and task, as the workers read them; after a warm
                   start also warm_start.json: which parameters were taken, left and missing
features/          tokenized rows
train/             Ray Train's folder: checkpoints
run.json           what the run is made of: versions, digests and counts of the rows, what a warm
                   start took, and the seconds of each stage
metrics.jsonl      one line of training metrics per interval, one per evaluation
model/             the exported model directory
evaluation.json    metrics, tables and wrong rows of the test rows, or, without any, of the dev rows
result.json        what the run came to
report.html        all of this for a reader: one file that needs no network; a run that was
                   interrupted has it, too
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ernie_ray.errors import CheckpointError, ConfigError
from ernie_ray.jobs.storage import Storage, writing_to
from ernie_ray.modeldir.folder import MANIFEST, MODEL_IN_RUN
from ernie_ray.tasks.metric_choice import MetricChoice
from ernie_ray.training.checkpoint import STATE, parse_state, read_state

RECIPE = "recipe.json"
ROWS = "rows.json"
START = "start"
FEATURES = "features"
FACTS = "run.json"
WARM_START = "warm_start.json"
EVALUATION = "evaluation.json"
REPORT = "report.html"
TRAIN = "train"
METRICS = "metrics.jsonl"
MODEL = MODEL_IN_RUN
RESULT = "result.json"


@dataclass(frozen=True)
class Stages:
    """What in a folder shows how far it came.

    Attributes:
        prepared: What was made of the recipe and the rows before any training.
        trained: What is there once training began.
    """

    prepared: tuple[str, ...] = (START, FEATURES)
    trained: tuple[str, ...] = (TRAIN, MODEL)


STAGES = Stages()
"""Of a run folder."""


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


def known_evaluations(run: str, storage: Storage) -> list[dict[str, float]]:
    """Give the evaluations that the latest checkpoint knows of, as lines of metrics, in order."""
    for name in reversed(storage.names_in(f"{run}/{TRAIN}")):  # they are named by their time
        state = f"{run}/{TRAIN}/{name}/{STATE}"
        if name.startswith("checkpoint_") and storage.exists(state):
            with suppress(CheckpointError):
                found = parse_state(storage.fetch(state)).evaluations
                return [line | {"step": int(line["step"])} for line in found]
    return []


def best_checkpoint(run: Path, metric: MetricChoice) -> WholeCheckpoint:
    """Choose the checkpoint with the best metric; the last one where none was measured.

    Raises:
        CheckpointError: The run has no whole checkpoint.
    """
    checkpoints = find_checkpoints(run)
    if not checkpoints:
        raise CheckpointError(
            f"{run}: no whole checkpoint; run `ernie-ray finetune` with this --output first"
        )

    def key(checkpoint: WholeCheckpoint) -> tuple[float, int]:
        score = metric.score(checkpoint.metrics)
        return -math.inf if score is None else score, checkpoint.step

    return max(checkpoints, key=key)


def has_model(run: str, storage: Storage) -> bool:
    """Say whether a run's model directory is there, whole."""
    return storage.exists(f"{run}/{MODEL}/{MANIFEST}")


def claim_run(
    wanted: dict[str, Any], run: str, storage: Storage, *, stages: Stages = STAGES
) -> None:
    """Write the recipe into a new run folder, or check that the folder's run has the same.

    Where nothing was trained yet, as after a wrong setting that was mended since, another recipe
    takes the place of the old one, and what was made by that goes.

    Args:
        wanted: Settings by section.
        run: The run folder.
        storage: Resolves it.
        stages: What else is in the folder.

    Raises:
        ConfigError: The folder holds a run that was trained with other settings.
    """
    name = f"{run}/{RECIPE}"
    found = read_json(name, storage)
    # How many machines work on a run may change from one attempt to the next.
    changed = [
        f"{section}.{key}"
        for section in wanted
        if section != "scaling"
        for key in (wanted[section] or {}).keys() | (found.get(section) or {}).keys()
        if (wanted[section] or {}).get(key) != (found.get(section) or {}).get(key)
    ]
    if found and not changed:
        return
    if found and not forget_prepared(run, storage, stages):
        raise ConfigError(
            f"{storage.resolve(run)} holds a run with another {', '.join(sorted(changed))}; "
            "choose another --output, or give the same recipe to go on with that run"
        )
    write_json(wanted, name, storage)


def forget_prepared(run: str, storage: Storage, stages: Stages) -> bool:
    """Remove what was prepared in a folder, unless training began; says whether it is gone."""
    if any(storage.exists(f"{run}/{part}") for part in stages.trained):
        return False
    for part in stages.prepared:
        storage.remove(f"{run}/{part}")
    return True


def read_json(name: str, storage: Storage) -> dict[str, Any]:
    """Give the contents of a JSON file that ``write_json`` put there; empty if there is none."""
    if not storage.exists(name):
        return {}
    content: dict[str, Any] = json.loads(storage.fetch(name).read_text(encoding="utf-8"))
    return content


def write_json(value: Any, name: str, storage: Storage) -> None:
    """Put a JSON file in place, whole or not at all."""
    write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", name, storage)


def write_text(text: str, name: str, storage: Storage) -> None:
    """Put a text file in place, whole or not at all.

    Raises:
        DataError: It cannot be written there.
    """
    with TemporaryDirectory(prefix="ernie-ray-") as folder:
        path = Path(folder) / name.rpartition("/")[2]
        with writing_to(storage.resolve(name)):
            path.write_text(text, encoding="utf-8")
        storage.publish(path, name)
