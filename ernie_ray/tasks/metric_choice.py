"""Which dev metric decides: over checkpoints, over early stopping, over the trials of a search."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from ernie_ray.errors import ConfigError
from ernie_ray.tasks.family import TaskFamily

_LESS_IS_BETTER = frozenset({"mean_squared_error"})
# Finite, since JSON has no infinity.
_WORST = -sys.float_info.max


@dataclass(frozen=True)
class MetricChoice:
    """The metric that decides.

    Attributes:
        name: As the task calls it; empty for a task that measures nothing.
        mode: ``max`` or ``min``: whether more or less of it is better.
    """

    name: str
    mode: str = "max"

    def score(self, metrics: Mapping[str, float]) -> float | None:
        """Give a finite number of which more is better; None if the metric was not measured.

        A metric that is no number is worse than any.
        """
        value = metrics.get(self.name)
        if value is None:
            return None
        signed = -value if self.mode == "min" else value
        return _WORST if math.isnan(signed) else min(max(signed, _WORST), -_WORST)


def choose_metric(family: TaskFamily, wanted: str, setting: str) -> MetricChoice:
    """Look up the metric that a recipe names.

    Args:
        family: The task.
        wanted: Name of the metric; empty: the family's main one.
        setting: Where the recipe names it, for the error.

    Raises:
        ConfigError: The task has no such metric.
    """
    if wanted and wanted not in family.metric_names:
        known = ", ".join(family.metric_names) or "none, since it has no labels"
        raise ConfigError(f"{setting}={wanted}: the task has no such metric; it has: {known}")
    name = wanted or family.primary_metric
    return MetricChoice(name, "min" if name in _LESS_IS_BETTER else "max")
