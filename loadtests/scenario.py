"""What a scenario file says: lanes of traffic, phases of load, and what must hold.

Knows nothing of targets or of how load is made. Files are TOML, in ``scenarios/`` or anywhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from loadtests.errors import ScenarioError

SCENARIOS = Path(__file__).parent / "scenarios"

Metric = Literal[
    "qps", "texts_per_s", "p50_ms", "p95_ms", "p99_ms", "error_fraction", "cpu_s_per_1000_texts"
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lane(_Part):
    """One kind of traffic."""

    name: str = Field(min_length=1, description="Name in phases, thresholds and reports.")
    arrivals: Literal["poisson", "constant", "closed"] = Field(
        default="poisson",
        description="poisson, constant: open loop, a level is requests a second; closed: each "
        "client waits for its answer before it sends again, a level is a number of clients.",
    )
    texts_per_request: int = Field(default=1, gt=0, description="Texts in one request.")
    text_characters: int | None = Field(
        default=None, gt=0, description="Join and cut texts to this many characters."
    )
    timeout_s: float = Field(
        default=10.0, gt=0, description="Seconds after which a request counts as failed."
    )

    @property
    def is_open(self) -> bool:
        """Whether arrivals do not wait for answers."""
        return self.arrivals != "closed"


class Phase(_Part):
    """Levels of the lanes for some time; lists make several phases, one for each element."""

    levels: dict[str, float | list[float]] = Field(
        min_length=1, description="Level of each active lane: requests a second, or clients."
    )
    seconds: float = Field(gt=0, description="Length of each phase, in seconds.")
    settle_s: float = Field(
        default=0.0, ge=0, description="Seconds at the start of a phase that are not measured."
    )
    kill_replica_at_s: float | None = Field(
        default=None, ge=0, description="Kill one replica of the target after these seconds."
    )

    @model_validator(mode="after")
    def _fits(self) -> Phase:
        if self.settle_s >= self.seconds:
            raise ValueError("settle_s must be shorter than seconds")
        if len({len(v) for v in self.levels.values() if isinstance(v, list)}) > 1:
            raise ValueError("lists in levels must have the same length")
        return self


class Knee(_Part):
    """Where a target is past its knee: it answers later, or less than it is asked."""

    min_answered: float = Field(
        default=0.95, gt=0, le=1, description="Share of offered requests answered in time."
    )
    max_p99_ms: float = Field(default=1000.0, gt=0, description="Milliseconds, of every lane.")
    max_error_fraction: float = Field(default=0.01, ge=0, description="Failed / sent requests.")
    stop: bool = Field(
        default=False, description="Leave out a target's later phases once one is past the knee."
    )


class Threshold(_Part):
    """A bound; if it does not hold, or nothing was measured, the command ends with status 1."""

    metric: Metric = Field(description="What is bounded, median over rounds.")
    target: str = Field(default="ours", description="Target whose metric it is.")
    against: str | None = Field(
        default=None, description="Bound the ratio of target's metric to this target's."
    )
    lane: str | None = Field(default=None, description="Only this lane.")
    phase: str | None = Field(default=None, description="Only this phase.")
    at_least: float | None = Field(default=None, description="Lower bound.")
    at_most: float | None = Field(default=None, description="Upper bound.")


class Step(_Part):
    """One phase with every level a number."""

    name: str = Field(description="Levels in words; distinct within a scenario.")
    levels: dict[str, float] = Field(description="Requests a second, or clients, by lane.")
    seconds: float = Field(description="Length in seconds.")
    settle_s: float = Field(description="Unmeasured seconds at the start.")
    kill_replica_at_s: float | None = Field(description="When to kill a replica, in seconds.")


class Scenario(_Part):
    """A whole scenario."""

    name: str = Field(min_length=1, description="Name in reports.")
    description: str = Field(description="What it is for, in a sentence.")
    texts: str = Field(
        default="english", description="english, chinese, both, or a file with a text a line."
    )
    lanes: tuple[Lane, ...] = Field(min_length=1, description="Kinds of traffic.")
    phases: tuple[Phase, ...] = Field(min_length=1, description="Load over time.")
    rates_are: Literal["per_second", "share_of_capacity"] = Field(
        default="per_second",
        description="Unit of open-loop levels. The capacity is what the first target answers to "
        "32 waiting clients, measured once; every target then gets the same rates.",
    )
    warm_up_s: float = Field(default=3.0, ge=0, description="Unmeasured seconds after each start.")
    rounds: int = Field(default=2, gt=0, description="Turns of each target, interleaved.")
    num_replicas: int = Field(default=1, gt=0, description="Replicas of targets that have them.")
    min_cosine: float = Field(
        default=0.99, le=1, description="Vectors of two targets must agree this well."
    )
    seed: int = Field(default=0, description="Of arrivals and texts.")
    knee: Knee = Field(default=Knee(), description="What counts as past the knee.")
    thresholds: tuple[Threshold, ...] = Field(default=(), description="What must hold.")

    @model_validator(mode="after")
    def _names_fit(self) -> Scenario:
        names = [lane.name for lane in self.lanes]
        if len(set(names)) < len(names):
            raise ValueError("lanes must have distinct names")
        for phase in self.phases:
            unknown = set(phase.levels) - set(names)
            if unknown:
                raise ValueError(f"phases: no lane is called {', '.join(sorted(unknown))}")
        return self

    def lane(self, name: str) -> Lane:
        """The lane of that name."""
        return next(lane for lane in self.lanes if lane.name == name)

    def scaled(self, factor: float) -> Scenario:
        """The same with every open-loop level multiplied, in requests a second."""
        return self.scaled_by_lane({lane.name: factor for lane in self.lanes})

    def scaled_by_lane(self, factors: dict[str, float]) -> Scenario:
        """The same with open-loop levels multiplied by a factor of their lane."""
        closed = {lane.name: 1.0 for lane in self.lanes if not lane.is_open}
        factors = factors | closed

        def scale(name: str, level: float | list[float]) -> float | list[float]:
            factor = factors[name]
            return [x * factor for x in level] if isinstance(level, list) else level * factor

        phases = tuple(
            phase.model_copy(
                update={"levels": {name: scale(name, x) for name, x in phase.levels.items()}}
            )
            for phase in self.phases
        )
        return self.model_copy(update={"phases": phases, "rates_are": "per_second"})

    def steps(self) -> list[Step]:
        """Phases in order, lists unrolled, with distinct names."""
        steps: list[Step] = []
        for phase in self.phases:
            for levels in _unrolled(phase.levels):
                name = ", ".join(f"{lane} {level:g}" for lane, level in levels.items())
                repeats = sum(step.name.partition(" #")[0] == name for step in steps)
                rest = phase.model_dump(exclude={"levels"})
                steps.append(
                    Step(name=f"{name} #{repeats + 1}" if repeats else name, levels=levels, **rest)
                )
        return steps


def load_scenario(name_or_path: str) -> Scenario:
    """Read a scenario: one of ours by name, or a file.

    Raises:
        ScenarioError: There is none, or it does not hold what a scenario may hold.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = SCENARIOS / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in SCENARIOS.glob("*.toml")))
        raise ScenarioError(
            f"{name_or_path}: no such scenario; give a .toml file or one of {known}"
        )
    try:
        return Scenario.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "scenario"
        raise ScenarioError(f"{path}: {where}: {first['msg']}") from error


def _unrolled(levels: dict[str, float | list[float]]) -> Iterator[dict[str, float]]:
    length = max((len(v) for v in levels.values() if isinstance(v, list)), default=1)
    for i in range(length):
        yield {name: v[i] if isinstance(v, list) else v for name, v in levels.items()}
