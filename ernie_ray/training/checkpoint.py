"""Write and read a checkpoint: the resumable state of a training run, without a pickle.

A checkpoint holds weights, optimizer state and the position (epoch, step). Batches and dropout are
pure functions of seed and position, so no generator state is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file

from ernie_ray.errors import CheckpointError
from ernie_ray.modeldir.weight_files import write_arrays
from ernie_ray.training.loss_scale import LossScale
from ernie_ray.training.patience import Patience

WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"


class Position(BaseModel):
    """Where in the run the next step is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int = Field(0, ge=0, description="Passes over the data that are complete.")
    step_in_epoch: int = Field(0, ge=0, description="Steps of this epoch that are complete.")
    step: int = Field(0, ge=0, description="Optimizer steps since the start of the run.")


class CheckpointState(BaseModel):
    """``state.json``: what a checkpoint says beside its arrays."""

    # A metric may be no number, or infinite; as null it could not be read back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    position: Position
    metrics: dict[str, float] = Field(description="Dev metrics; empty without a dev set.")
    evaluations: tuple[dict[str, float], ...] = Field(
        (), description="Of the run up to here: step and dev metrics of each, in order."
    )
    patience: Patience = Patience()
    loss_scale: LossScale = LossScale()
    num_bytes: dict[str, int] = Field(default_factory=dict, description="Sizes of the other files.")
    sha256: dict[str, str] = Field(description="Digest of each other file.")


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on.

    Attributes:
        position: Where the next step is.
        weights: The network's parameters by name.
        optimizer: The optimizer's state by name.
        metrics: Dev metrics at this position; empty without a dev set.
        evaluations: Step and dev metrics of each evaluation up to this position.
        patience: How the evaluations so far went.
        loss_scale: Of fp16.
    """

    position: Position
    weights: Mapping[str, NDArray[np.float32]]
    optimizer: Mapping[str, NDArray[np.float32]]
    metrics: Mapping[str, float]
    evaluations: tuple[dict[str, float], ...] = ()
    patience: Patience = field(default_factory=Patience)
    loss_scale: LossScale = field(default_factory=LossScale)


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write into an empty folder; ``state.json`` comes last and makes it whole.

    Raises:
        CheckpointError: There is no room, or the folder cannot be written.
    """
    with explained_write(checkpoint.position.step):
        write_arrays(folder / WEIGHTS, checkpoint.weights)
        write_arrays(folder / OPTIMIZER, checkpoint.optimizer)
        state = CheckpointState(
            position=checkpoint.position,
            metrics=dict(checkpoint.metrics),
            evaluations=checkpoint.evaluations,
            patience=checkpoint.patience,
            loss_scale=checkpoint.loss_scale,
            num_bytes={name: (folder / name).stat().st_size for name in (WEIGHTS, OPTIMIZER)},
            sha256={name: _digest(folder / name) for name in (WEIGHTS, OPTIMIZER)},
        )
        (folder / STATE).write_text(state.model_dump_json(indent=1), encoding="utf-8")


@contextmanager
def explained_write(step: int) -> Iterator[None]:
    """Turn what goes wrong while the checkpoint of a step is written or copied into our error."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint of step {step} could not be written ({error}); make room, then run "
            "the same command again: it goes on from the checkpoint before"
        ) from error


def read_state(folder: Path) -> CheckpointState:
    """Read what a checkpoint says of itself, and look whether its files are whole.

    Raises:
        CheckpointError: A file is missing or was not written, or copied, to its end.
    """
    state = parse_state(folder / STATE)
    for name in state.sha256:
        try:
            size = (folder / name).stat().st_size
        except FileNotFoundError:
            raise CheckpointError(
                f"{folder}: missing {name}; resume from another checkpoint"
            ) from None
        if size != state.num_bytes.get(name, size):
            raise CheckpointError(f"{folder / name}: damaged; resume from another checkpoint")
    return state


def parse_state(file: Path) -> CheckpointState:
    """Read ``state.json`` alone, whatever is beside it.

    Raises:
        CheckpointError: It is missing, or not whole.
    """
    try:
        return CheckpointState.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CheckpointError(f"{file.parent}: not a whole checkpoint (no {STATE})") from None
    except ValueError as error:  # not UTF-8, not JSON, or not this
        raise CheckpointError(f"{file}: not a checkpoint's state: {error}") from error


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint back.

    Raises:
        CheckpointError: A file is missing, was not written to its end, or has changed.
    """
    state = read_state(folder)
    _refuse_changed(folder, state.sha256)
    return Checkpoint(
        position=state.position,
        weights=load_file(folder / WEIGHTS),
        optimizer=load_file(folder / OPTIMIZER),
        metrics=state.metrics,
        evaluations=state.evaluations,
        patience=state.patience,
        loss_scale=state.loss_scale,
    )


def read_checkpoint_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Read the weights of a checkpoint, without the optimizer's state.

    Raises:
        CheckpointError: A file is missing or was not written to its end, or the weights have
            changed.
    """
    digests = read_state(folder).sha256
    _refuse_changed(folder, {name: digests[name] for name in (WEIGHTS,) if name in digests})
    weights: dict[str, NDArray[np.float32]] = load_file(folder / WEIGHTS)
    return weights


def _refuse_changed(folder: Path, digests: Mapping[str, str]) -> None:
    for name, digest in digests.items():
        if _digest(folder / name) != digest:
            raise CheckpointError(f"{folder / name}: damaged; resume from another checkpoint")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
