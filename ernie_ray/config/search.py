"""The settings of a search: a recipe, ranges for some of its settings, and how many to try.

Draws the trials, too: trial N of a seed is the same wherever it is drawn, so that an interrupted
search can go on. Knows neither Ray nor what a setting does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator

from ernie_ray.config.recipe import DataSection, Recipe, Section

Value = bool | int | float | str

# Data, task and machines stay the same, or the trials could not be compared.
_SEARCHED_SECTIONS = ("model", "training")
# So many draws in a row that were all tried before: the ranges hold hardly anything else.
_MAX_REPEATS = 50


class Range(Section):
    """Numbers from ``low`` to ``high``; whole ones, both ends included, if both are whole."""

    low: int | float = Field(description="Smallest value.")
    high: int | float = Field(description="Largest value.")
    log: bool = Field(False, description="Each order of magnitude is as likely as any other.")

    @model_validator(mode="after")
    def _is_possible(self) -> Range:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low={self.low} must be smaller than high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low} must be above 0 where log = true")
        return self

    def draw(self, rng: np.random.Generator) -> Value:
        """Draw one value."""
        is_whole = isinstance(self.low, int) and isinstance(self.high, int)
        # Whole numbers are rounded, so each end's half unit belongs to the range.
        low, high = (self.low - 0.5, self.high + 0.5) if is_whole else (self.low, self.high)
        if self.log:
            value = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            value = rng.uniform(low, high)
        if is_whole:
            return int(min(max(round(value), self.low), self.high))
        # Four digits: a person will read, and perhaps type, what wins.
        return float(min(max(float(f"{value:.4g}"), self.low), self.high))

    def examples(self) -> tuple[Value, ...]:
        """Values that must be allowed if all are to be."""
        return (self.low, self.high)


class TuneSection(Section):
    """How the trials are made and which of them go on."""

    num_trials: int = Field(16, gt=0, description="Recipes to try.")
    max_concurrent: int = Field(
        1, gt=0, description="Trials at a time; each takes scaling.num_workers workers."
    )
    metric: str = Field(
        "",
        description="Dev metric that decides over trials and, as their training.metric, over their "
        "checkpoints; empty: training.metric, or the family's main one.",
    )
    mode: Literal["max", "min"] = Field("max", description="Whether more or less of it is better.")
    grace_steps: int = Field(100, gt=0, description="Optimizer steps that every trial may take.")
    reduction_factor: float = Field(
        3.0,
        gt=1,
        description="ASHA: after grace_steps, and whenever its steps grew by this factor, a trial "
        "goes on only among the best 1 / reduction_factor of those that came so far.",
    )
    seed: int = Field(42, ge=0, description="Same seed, same trials.")


class SearchDataSection(DataSection):
    """The rows; dev rows are needed to compare trials."""

    dev: str = Field(min_length=1, description="Rows that trials are compared by.")


class SearchRecipe(Recipe):
    """A recipe with ranges."""

    data: SearchDataSection
    search: dict[str, Range | tuple[Value, ...]] = Field(
        min_length=1,
        description='Ranges, or lists of values, by setting: "training.learning_rate" = '
        "{low = 1e-5, high = 2e-4, log = true}.",
    )
    tune: TuneSection = TuneSection()

    @field_validator("search", mode="before")
    @classmethod
    def _with_full_names(cls, search: Any) -> Any:
        """Without quotes, TOML takes the dot of a setting's name for a table."""
        if not isinstance(search, Mapping):
            return search
        named: dict[str, Any] = {}
        for key, value in search.items():
            if key in _SEARCHED_SECTIONS and isinstance(value, Mapping):
                named |= {f"{key}.{name}": choices for name, choices in value.items()}
            else:
                named[key] = value
        return named

    @model_validator(mode="after")
    def _is_allowed(self) -> SearchRecipe:
        for name, choices in self.search.items():
            if name.partition(".")[0] not in _SEARCHED_SECTIONS:
                raise ValueError(
                    f"search.{name}: only settings of {' and '.join(_SEARCHED_SECTIONS)} can be "
                    "searched; trials must share data, task and machines to be compared"
                )
            if name == "training.metric":
                raise ValueError(
                    f"search.{name}: trials are compared by one metric; name it in tune.metric"
                )
            if not (examples := _examples(choices)):
                raise ValueError(f"search.{name}: give at least one value")
            for value in examples:
                self._check({name: value})
        wanted, own = self.tune.metric, self.training.metric
        if wanted and own and wanted != own:
            raise ValueError(
                f"tune.metric={wanted} and training.metric={own}: the best trial is found by its "
                "best checkpoint, so one metric must decide over both; name one"
            )
        for values in self.trials():
            self._check(values)
        return self

    def recipe_with(self, values: Mapping[str, Value]) -> Recipe:
        """Make the recipe of a trial.

        Args:
            values: By setting, as ``training.learning_rate``.

        Raises:
            ValidationError: They do not go together.
        """
        settings = self.model_dump(exclude={"search", "tune"})
        settings["training"]["metric"] = self.tune.metric or self.training.metric
        for name, value in values.items():
            section, _, key = name.partition(".")
            settings[section][key] = value
        return Recipe.model_validate(settings)

    def trials(self) -> list[dict[str, Value]]:
        """Draw the values of ``tune.num_trials`` different trials; fewer if there are no more."""
        return list(itertools.islice(self._draws(), self.tune.num_trials))

    def _draws(self) -> Iterator[dict[str, Value]]:
        """Different draws without end, or until only known ones come."""
        rng = np.random.default_rng(self.tune.seed)
        seen: set[tuple[Value, ...]] = set()
        num_repeats, num_possible = 0, self._num_possible
        while num_repeats < _MAX_REPEATS if num_possible is None else len(seen) < num_possible:
            values = {name: _draw(choices, rng) for name, choices in self.search.items()}
            if (key := tuple(values.values())) in seen:
                num_repeats += 1
                continue
            seen.add(key)
            num_repeats = 0
            yield values

    @property
    def _num_possible(self) -> int | None:
        """How many different draws there are; None where a range has too many to count."""
        choices = self.search.values()
        if any(isinstance(one, Range) for one in choices):
            return None
        return math.prod(len(set(_examples(one))) for one in choices)

    def _check(self, values: Mapping[str, Value]) -> None:
        try:
            self.recipe_with(values)
        except ValidationError as error:
            shown = ", ".join(f"{name} = {value!r}" for name, value in values.items())
            raise ValueError(f"search: {shown}: {error.errors()[0]['msg']}") from None


def _examples(choices: Range | tuple[Value, ...]) -> tuple[Value, ...]:
    return choices.examples() if isinstance(choices, Range) else choices


def _draw(choices: Range | tuple[Value, ...], rng: np.random.Generator) -> Value:
    if isinstance(choices, Range):
        return choices.draw(rng)
    return choices[int(rng.integers(len(choices)))]
