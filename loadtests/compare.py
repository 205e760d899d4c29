"""Runs targets in turn, A B A B, and brings the numbers together."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from loadtests import equality, results
from loadtests.errors import LoadTestError, TargetUnavailableError
from loadtests.fleet import Fleet, StepResult
from loadtests.results import Comparison, Round, TargetResult
from loadtests.scenario import Lane, Phase, Scenario, Step
from loadtests.targets import Running, Target
from loadtests.texts import TextDraw, read_texts

CALIBRATION_CLIENTS = 32
_CALIBRATION_S = 4.0


class _Run:
    """One comparison in the making."""

    def __init__(
        self, scenario: Scenario, targets: list[Target], processes: int, command: str
    ) -> None:
        self.scenario, self.targets, self.processes = scenario, targets, processes
        self.unavailable: dict[str, str] = {}
        self.cosines: dict[str, float] = {}
        self.rounds: dict[str, list[Round]] = {target.name: [] for target in targets}
        self.skipped: list[str] = []
        self._command, self._machine, self._commit = command, _machine(), _commit()
        self._date = datetime.now(UTC).isoformat(timespec="seconds")

    def result(self) -> Comparison:
        """Everything measured so far."""
        measured = [
            TargetResult(
                name=target.name,
                unavailable=self.unavailable.get(target.name),
                least_cosine=self.cosines.get(target.name),
                rounds=self.rounds[target.name],
            )
            for target in self.targets
        ]
        return Comparison(
            command=self._command,
            commit=self._commit,
            date=self._date,
            machine=self._machine,
            scenario=self.scenario,
            generator_processes=self.processes,
            targets=measured,
            knees={one.name: results.knees(one, self.scenario) for one in measured},
            ratios=results.ratios(measured, self.scenario),
            verdicts=results.verdicts(measured, self.scenario),
            skipped_actions=self.skipped,
        )

    def available(self) -> list[Target]:
        """Targets that nothing was found wrong with so far."""
        return [target for target in self.targets if target.name not in self.unavailable]

    def note(self, target: Target, error: Exception) -> None:
        """A target drops out, with the reason."""
        self.unavailable[target.name] = str(error)
        tqdm.write(f"{target.name}: not measured: {error}")


def compare(
    scenario: Scenario,
    targets: list[Target],
    *,
    processes: int,
    command: str,
    save: Callable[[Comparison], None],
) -> Comparison:
    """Prepare all targets, check that their vectors agree, then measure them in turn.

    Args:
        scenario: What to run.
        targets: What to measure; ratios are of the first to each other.
        processes: Generator processes.
        command: How to repeat it, for the report.
        save: Keeps what there is after each turn, so that hours are not lost with the last one.
    """
    run = _Run(scenario, targets, processes, command)
    _check_equality(run)
    if scenario.rates_are == "share_of_capacity" and run.available():
        run.scenario = scenario.scaled_by_lane(_capacities(run))
    steps = run.scenario.steps()
    total = run.scenario.rounds * len(run.available()) * len(steps)
    with tqdm(total=total, desc="phases", unit="phase") as bar:
        for number in range(run.scenario.rounds):
            for target in run.available():
                bar.set_postfix_str(f"round {number + 1}, {target.name}")
                _turn(run, target, number, bar)
                save(run.result())
    return run.result()


def _check_equality(run: _Run) -> None:
    whole = TextDraw(read_texts(run.scenario.texts), Lane(name="check", texts_per_request=1), "0")
    texts = [whole.request()[0] for _ in range(equality.NUM_TEXTS)]
    first = None
    for target in tqdm(run.targets, desc="checking vectors", unit="target"):
        try:
            target.prepare()
            with target.started() as running:
                vectors = equality.vectors_of(running.address, texts)
            if first is None:
                first = vectors
            run.cosines[target.name] = equality.least_cosine(first, vectors)
            if run.cosines[target.name] < run.scenario.min_cosine:
                raise TargetUnavailableError(
                    f"its vectors are others (cosine {run.cosines[target.name]:.4f} to those of "
                    f"the first target, {run.scenario.min_cosine} is asked for): timing it would "
                    "compare two different things"
                )
        except LoadTestError as error:
            run.note(target, error)


def _capacities(run: _Run) -> dict[str, float]:
    """Requests a second that the first target answers in each open lane, to waiting clients."""
    lanes = [lane for lane in run.scenario.lanes if lane.is_open]
    closed = run.scenario.model_copy(
        update={
            "lanes": tuple(lane.model_copy(update={"arrivals": "closed"}) for lane in lanes),
            "phases": tuple(
                Phase(levels={lane.name: CALIBRATION_CLIENTS}, seconds=_CALIBRATION_S, settle_s=1)
                for lane in lanes
            ),
        }
    )
    with run.available()[0].started() as running:
        measured = _phases(closed, running, run.processes, closed.steps(), seed="capacity")
    capacities = {step.lanes[0].lane: step.lanes[0].qps for step in measured}
    tqdm.write("capacity: " + ", ".join(f"{k} {v:.1f}/s" for k, v in capacities.items()))
    return capacities


def _turn(run: _Run, target: Target, number: int, bar: tqdm[Any]) -> None:
    """One round of one target."""
    scenario, steps = run.scenario, run.scenario.steps()
    finished: list[StepResult] = []
    try:
        with ExitStack() as stack:
            running = stack.enter_context(target.started())
            fleet = stack.enter_context(Fleet(running.address, scenario, processes=run.processes))
            _warm_up(fleet, scenario, running)
            for step in steps:
                finished.append(_step(run, target, fleet, running, step, number))
                bar.update()
                if scenario.knee.stop and results.is_past(finished[-1], scenario.knee):
                    break
    except LoadTestError as error:
        run.note(target, error)
    bar.update(len(steps) - len(finished))
    run.rounds[target.name].append(Round(steps=finished))


def _step(
    run: _Run, target: Target, fleet: Fleet, running: Running, step: Step, number: int
) -> StepResult:
    kill = running.kill_replica
    if step.kill_replica_at_s is not None and running.replica is None:
        reason = f"{target.name} has no replica to kill; it ran without"
        if reason not in run.skipped:
            run.skipped.append(reason)
        kill = None  # type: ignore[assignment]
    # The same seed for every target: the same arrivals and texts.
    seed = f"{run.scenario.seed}/{number}/{step.name}"
    result = fleet.run(step, pids=running.pids, seed=seed, kill_replica=kill)
    tqdm.write(f"{target.name:24.24}  {one_line(result)}")
    return result


def _warm_up(fleet: Fleet, scenario: Scenario, running: Running) -> None:
    """Low load in every lane, not measured."""
    if scenario.warm_up_s:
        levels = {lane.name: 2.0 for lane in scenario.lanes}
        step = Step(
            name="warm-up",
            levels=levels,
            seconds=scenario.warm_up_s,
            settle_s=0,
            kill_replica_at_s=None,
        )
        fleet.run(step, pids=running.pids, seed="warm-up")


def _phases(
    scenario: Scenario, running: Running, processes: int, steps: Iterable[Step], *, seed: str
) -> list[StepResult]:
    with Fleet(running.address, scenario, processes=processes) as fleet:
        return [fleet.run(step, pids=running.pids, seed=f"{seed}/{step.name}") for step in steps]


def one_line(result: StepResult) -> str:
    """A phase in one line."""
    lanes = []
    for lane in result.lanes:
        p50, p99 = (f"{x:.1f}" if x is not None else "-" for x in (lane.p50_ms, lane.p99_ms))
        failed = f", {lane.error_fraction:.1%} failed" if lane.errors else ""
        lanes.append(f"{lane.lane}: {lane.qps:.1f}/s p50 {p50} p99 {p99} ms{failed}")
    flag = "  (see warnings)" if result.warnings else ""
    return f"{result.name:20} {'; '.join(lanes)}{flag}"


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model or platform.machine()}, {cpus} CPUs, load average at the start {load}"


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
