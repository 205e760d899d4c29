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
    for step, value in sorted(_known_values(args, storage).items()):
        _report(step, value)

    def on_line(line: dict[str, float]) -> None:
        if "loss" in line:
            return
        value = line.get(args.metric, math.nan)
        problem = "" if math.isfinite(value) else _no_value(args.metric, line)
        _report(int(line["step"]), value, problem=problem)

    callbacks = [ReportController(args.controllers, args.run)]
    try:
        train_prepared(
            args.recipe, args.run, args.prepared,
            storage=storage, on_line=on_line, callbacks=callbacks, num_runs=args.num_runs,
        )  # fmt: skip
    except ErnieRayError as error:
        _report(0, problem=f"{type(error).__name__}: {error}")
    else:
        _report(0, is_finished=True)


def _known_values(args: TrialArgs, storage: Storage) -> dict[int, float]:
    """Values of an earlier attempt by step: as on the board, else as the run logged them."""
    log = f"{args.run}/{runs.METRICS}"
    lines = read_metrics(storage.fetch(log)) if storage.exists(log) else []
    logged = {line["step"]: line[args.metric] for line in lines if args.metric in line}
    return logged | {evaluation.step: evaluation.value for evaluation in args.trial.evaluations}


def _no_value(metric: str, line: dict[str, float]) -> str:
    if metric in line:
        return f"{metric} is {line[metric]}; the training diverged"
    known = ", ".join(name for name in line if name != "step")
    return f"the dev rows give no metric {metric!r}; set tune.metric to one of: {known}"


def _report(
    step: int, value: float = math.nan, *, problem: str = "", is_finished: bool = False
) -> None:
    ray_tune.report({"step": step, "value": value, "problem": problem, "is_finished": is_finished})
