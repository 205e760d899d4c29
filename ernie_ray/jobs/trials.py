"""What is known of the trials of a search: kept in one file, shown as one table.

The file is what an interrupted search goes on from. Knows neither Ray nor recipes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ernie_ray.config.search import Value
from ernie_ray.jobs import runs
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.text_table import text_table

TRIALS = "trials.json"

State = Literal["waiting", "running", "finished", "stopped", "failed"]


class Evaluation(BaseModel):
    """One measurement of a trial on the dev rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = Field(ge=0, description="Optimizer steps behind it.")
    value: float = Field(description="The metric that decides.")


class Trial(BaseModel):
    """One recipe that is tried."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=0, description="Place in the order of drawing.")
    values: dict[str, Value] = Field(description="What was drawn, by setting.")
    state: State = Field(
        "waiting",
        description="waiting; running, or broken off; finished: trained to its end; stopped: by "
        "the scheduler, as others are better; failed: and would fail again.",
    )
    evaluations: tuple[Evaluation, ...] = Field((), description="In the order of training.")
    problem: str = Field("", description="Why it failed, or was broken off.")

    @property
    def name(self) -> str:
        """Name of its run folder."""
        return f"{self.number:03}"

    @property
    def is_over(self) -> bool:
        """Nothing more will be known of it."""
        return self.state in ("finished", "stopped", "failed")

    def with_evaluation(self, evaluation: Evaluation) -> Trial:
        """Add a measurement; one of a step that is known already changes nothing."""
        if self.evaluations and evaluation.step <= self.evaluations[-1].step:
            return self
        return self.model_copy(update={"evaluations": (*self.evaluations, evaluation)})

    def best(self, mode: str) -> Evaluation | None:
        """Its best measurement, the latest of equals, as its model is; None if there is none."""
        sign = 1 if mode == "max" else -1
        return max(self.evaluations, key=lambda e: (sign * e.value, e.step), default=None)


class TrialBoard:
    """All trials of a search, written to their file at each change."""

    def __init__(self, drawn: Sequence[Mapping[str, Value]], output: str, storage: Storage) -> None:
        """Start from what the file knows.

        Args:
            drawn: Values of each trial, in the order of drawing.
            output: The search's folder.
            storage: Resolves it.
        """
        self._name = f"{output}/{TRIALS}"
        self._storage = storage
        known: list[Trial] = []
        if storage.exists(self._name):
            text = storage.fetch(self._name).read_text(encoding="utf-8")
            known = TypeAdapter(list[Trial]).validate_json(text)
        new = [Trial(number=i, values=dict(values)) for i, values in enumerate(drawn)]
        self._trials = known + new[len(known) :]
        self._num_wanted = len(new)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """In the order of drawing."""
        return tuple(self._trials)

    def left(self) -> list[Trial]:
        """Trials that are wanted and not over."""
        return [trial for trial in self._trials[: self._num_wanted] if not trial.is_over]

    def put(self, trial: Trial) -> None:
        """Take what is new of a trial, and write the file."""
        self._trials[trial.number] = trial
        records = [json.loads(trial.model_dump_json()) for trial in self._trials]
        runs.write_json(records, self._name, self._storage)

    def best(self, mode: str) -> Trial | None:
        """The trial with the best measurement; one that was stopped only if none finished."""
        measured = [trial for trial in self._trials if trial.evaluations]
        finished = [trial for trial in measured if trial.state == "finished"]
        return next(iter(_from_best(finished or measured, mode)), None)

    def table(self, metric: str, mode: str) -> str:
        """One line a trial, the best first."""
        names = list(self._trials[0].values)
        header = ["trial", metric, "at step", "steps", "state", *names]
        lines = [header]
        for trial in _from_best(self._trials, mode):
            best = trial.best(mode)
            last = trial.evaluations[-1].step if trial.evaluations else 0
            numbers = ["", ""] if best is None else [f"{best.value:.4f}", str(best.step)]
            values = [str(trial.values[name]) for name in names]
            lines.append([trial.name, *numbers, str(last), trial.state, *values])
        return text_table(lines)


def _from_best(trials: Sequence[Trial], mode: str) -> list[Trial]:
    """Sort by the best measurement; those without one come last."""
    sign = 1 if mode == "max" else -1

    def key(trial: Trial) -> tuple[bool, float, int]:
        best = trial.best(mode)
        return best is None, -sign * best.value if best else 0.0, trial.number

    return sorted(trials, key=key)
