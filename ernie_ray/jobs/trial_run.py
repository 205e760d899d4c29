"""One trial of a search, in a process that Ray Tune starts: train, and report each evaluation.

Knows neither the other trials nor who stops it.
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import tune as ray_tune

from ernie_ray.config import Recipe
from ernie_ray.errors import ErnieRayError
from ernie_ray.jobs import runs
from ernie_ray.jobs.finetune import train_prepared
from ernie_ray.jobs.progress import read_metrics
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.train_controllers import ReportController
from ernie_ray.jobs.trials import Trial
from ernie_ray.jobs.worker_inputs import Prepared


class TrialArgs(BaseModel):
    """What a trial's process needs to know; paths and URIs, never arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: Trial
    recipe: Recipe = Field(description="With the trial's values.")
    run: str = Field(description="Its run folder.")
    metric: str = Field(description="Dev metric that decides.")
    prepared: Prepared = Field(description="What the training workers read.")
    controllers: str = Field(description="Name of the search's ``TrainControllers``.")
    num_runs: int = Field(description="Trials at a time.")


def run_trial(config: dict[str, Any]) -> None:
    """Train by one recipe and report each evaluation; runs in a process that Ray Tune starts."""
    args = TrialArgs.model_validate_json(config["args"])
    storage = Storage()

    def on_line(line: dict[str, float]) -> None:
        if "loss" in line:
            return
        value = line[args.metric]
        if math.isfinite(value):
            _report(int(line["step"]), value)
        else:
            _report(0, problem=f"{args.metric} is {value}; the training diverged", recurs=True)

    # Through the same check: a value that is no number may have been logged and not acted upon.
    for step, value in sorted(_known_values(args, storage).items()):
        on_line({"step": step, args.metric: value})
    callbacks = [ReportController(args.controllers, args.run)]
    try:
        train_prepared(
            args.recipe, args.run, args.prepared,
            storage=storage, on_line=on_line, callbacks=callbacks, num_runs=args.num_runs,
        )  # fmt: skip
    except ErnieRayError as error:
        _report(0, problem=f"{type(error).__name__}: {error}", recurs=error.recurs)
    else:
        _report(0, is_finished=True)


def _known_values(args: TrialArgs, storage: Storage) -> dict[int, float]:
    """Values of an earlier attempt by step: as on the board, else as the run logged them."""
    log = f"{args.run}/{runs.METRICS}"
    lines = read_metrics(storage.fetch(log)) if storage.exists(log) else []
    logged = {line["step"]: line[args.metric] for line in lines if args.metric in line}
    return logged | {evaluation.step: evaluation.value for evaluation in args.trial.evaluations}


def _report(
    step: int,
    value: float = math.nan,
    *,
    problem: str = "",
    recurs: bool = False,
    is_finished: bool = False,
) -> None:
    ray_tune.report(
        {
            "step": step,
            "value": value,
            "problem": problem,
            "recurs": recurs,
            "is_finished": is_finished,
        }
    )
