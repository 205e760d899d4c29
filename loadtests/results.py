"""The whole of a comparison as data: what the JSON file holds and the report is drawn from."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from loadtests.fleet import StepResult
from loadtests.records import LaneResult
from loadtests.scenario import Knee, Metric, Scenario, Threshold


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class Round(_Result):
    """One turn of a target: started, warmed up, all phases."""

    steps: list[StepResult] = Field(description="Phases in order; fewer if it passed its knee.")


class TargetResult(_Result):
    """One target."""

    name: str = Field(description="Its name or URL.")
    unavailable: str | None = Field(default=None, description="Why it was not measured.")
    least_cosine: float | None = Field(
        default=None, description="Smallest cosine to the first target's vectors."
    )
    rounds: list[Round] = Field(default=[], description="Its turns, interleaved with others'.")


class Spread(_Result):
    """A number over rounds."""

    median: float = Field(description="Median.")
    low: float = Field(description="Smallest.")
    high: float = Field(description="Largest.")

    def __str__(self) -> str:
        if self.low == self.high:  # of a single round
            return f"{self.median:.4g}"
        return f"{self.median:.4g} ({self.low:.4g} to {self.high:.4g})"


class Ratio(_Result):
    """First target to another, round by round."""

    target: str = Field(description="The other target.")
    step: str = Field(description="Phase.")
    lane: str = Field(description="Lane.")
    metric: str = Field(description="What is divided.")
    ratio: Spread = Field(description="First / other, over rounds.")


class Verdict(_Result):
    """A threshold with what was measured."""

    threshold: Threshold = Field(description="What must hold.")
    step: str = Field(description="Phase.")
    lane: str = Field(description="Lane.")
    value: float | None = Field(description="Median over rounds; None: nothing was measured.")
    holds: bool = Field(description="Whether it does.")


class Comparison(_Result):
    """Everything."""

    command: str = Field(description="How to repeat it.")
    commit: str | None = Field(description="Commit of the project, if it is a git checkout.")
    date: str = Field(description="Start, ISO 8601, UTC.")
    machine: str = Field(description="CPU, number of CPUs, load average at the start.")
    scenario: Scenario = Field(description="As run: rates in requests a second.")
    generator_processes: int = Field(description="Processes that made the load.")
    targets: list[TargetResult] = Field(description="In the order given.")
    knees: dict[str, dict[str, float | None]] = Field(
        default={}, description="Highest open-loop rate before the knee, by target and lane."
    )
    ratios: list[Ratio] = Field(default=[], description="First target to every other.")
    verdicts: list[Verdict] = Field(default=[], description="Thresholds.")
    skipped_actions: list[str] = Field(default=[], description="What could not be done, and why.")


_METRICS: tuple[Metric, ...] = ("qps", "p50_ms", "p95_ms", "p99_ms", "cpu_s_per_1000_texts")


def metric_of(step: StepResult, lane: LaneResult, metric: Metric) -> float | None:
    """One number of a lane; CPU seconds are those of the whole phase."""
    if metric == "cpu_s_per_1000_texts":
        return step.cpu_s_per_1000_texts
    value: float | None = getattr(lane, metric)
    return value


def over_rounds(target: TargetResult, step: str, lane: str, metric: Metric) -> list[float | None]:
    """A metric in each round."""
    return [
        next((metric_of(s, one, metric) for s, one in _cells(a_round, step, lane)), None)
        for a_round in target.rounds
    ]


def spread(values: list[float | None]) -> Spread | None:
    """Median and range of what there is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(median=statistics.median(known), low=min(known), high=max(known))


def is_past(step: StepResult, knee: Knee) -> bool:
    """Whether any open-loop lane of a phase is past its knee; waiting clients have none."""
    return any(_lane_is_past(one, knee) for one in step.lanes if one.arrivals != "closed")


def knees(target: TargetResult, scenario: Scenario) -> dict[str, float | None]:
    """Highest rate of each open lane at which the target held in every round.

    None: it held at no rate.
    """
    found: dict[str, float | None] = {}
    for lane in (lane for lane in scenario.lanes if lane.is_open):
        rounds = [_held_rates(a_round, lane.name, scenario.knee) for a_round in target.rounds]
        # A rate that a round did not come to, since it stopped before, was not held there.
        in_all = rounds[0].intersection(*rounds[1:]) if rounds else set()
        found[lane.name] = max(in_all, default=None)
    return found


def _held_rates(a_round: Round, lane: str, knee: Knee) -> set[float]:
    cells = [one for _, one in _cells(a_round, None, lane)]
    past = {one.level for one in cells if _lane_is_past(one, knee)}
    return {one.level for one in cells} - past


def ratios(targets: list[TargetResult], scenario: Scenario) -> list[Ratio]:
    """The first target's numbers divided by every other's, paired by round."""
    first, found = targets[0], []
    for other in targets[1:]:
        for step in scenario.steps():
            for lane in step.levels:
                for metric in _METRICS:
                    pairs = _paired(first, other, (step.name, lane), metric)
                    ratio = spread([a / b if b else None for a, b in pairs])
                    if ratio:
                        found.append(
                            Ratio(
                                target=other.name,
                                step=step.name,
                                lane=lane,
                                metric=metric,
                                ratio=ratio,
                            )
                        )
    return found


def verdicts(targets: list[TargetResult], scenario: Scenario) -> list[Verdict]:
    """Every threshold in every phase and lane that it names; failed where nothing was measured."""
    by_name = {target.name: target for target in targets}
    found = []
    for threshold in scenario.thresholds:
        cells = [
            (step.name, lane)
            for step in scenario.steps()
            for lane in step.levels
            if threshold.phase in (None, step.name) and threshold.lane in (None, lane)
        ]
        for step, lane in cells or [(threshold.phase or "", threshold.lane or "")]:
            value = _value(by_name, threshold, (step, lane))
            found.append(
                Verdict(
                    threshold=threshold,
                    step=step,
                    lane=lane,
                    value=value,
                    holds=value is not None
                    and (threshold.at_least is None or value >= threshold.at_least)
                    and (threshold.at_most is None or value <= threshold.at_most),
                )
            )
    return found


def _value(
    targets: dict[str, TargetResult], threshold: Threshold, cell: tuple[str, str]
) -> float | None:
    target = targets.get(threshold.target)
    other = targets.get(threshold.against or threshold.target)
    if target is None or other is None:
        return None
    if threshold.against is None:
        found = spread(over_rounds(target, *cell, threshold.metric))
    else:
        pairs = _paired(target, other, cell, threshold.metric)
        found = spread([a / b if b else None for a, b in pairs])
    return found.median if found else None


def _paired(
    one: TargetResult, other: TargetResult, cell: tuple[str, str], metric: Metric
) -> list[tuple[float, float]]:
    pairs = zip(over_rounds(one, *cell, metric), over_rounds(other, *cell, metric), strict=False)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _lane_is_past(lane: LaneResult, knee: Knee) -> bool:
    is_short = lane.answered_fraction < knee.min_answered
    is_slow = lane.p99_ms is None or lane.p99_ms > knee.max_p99_ms
    return is_short or is_slow or lane.error_fraction > knee.max_error_fraction


def _cells(a_round: Round, step: str | None, lane: str) -> Iterator[tuple[StepResult, LaneResult]]:
    for one in a_round.steps:
        for result in one.lanes:
            if step in (None, one.name) and result.lane == lane:
                yield one, result
