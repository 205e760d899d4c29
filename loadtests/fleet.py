"""Runs the phases of a scenario in several generator processes and joins what they measured.

Knows a target only as an address. Does not import Locust, which would patch this process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from loadtests.errors import LoadTestError
from loadtests.processes import CpuMeter, Pids
from loadtests.records import OK, LaneResult, Requests, lane_result
from loadtests.scenario import Lane, Scenario, Step

_LEAD_S = 0.7
"""Time for users to be ready before a phase starts."""
_BUSY = 0.85
"""Share of one CPU from which a generator process counts as saturated: it is one thread."""
_LATE_MS = 20.0
"""99th percentile of (sent - intended) from which open-loop load counts as late."""


@dataclass(frozen=True)
class Address:
    """Where a target listens, and how it is asked.

    Attributes:
        url: ``http://host:port``, ``grpc://host:port`` or ``tcp://host:port``.
        dialect: Key of ``loadtests.dialects.DIALECTS``; ``grpc``, and ``bert-serving`` for
            ``tcp://``.
    """

    url: str
    dialect: str


class StepResult(BaseModel):
    """One phase against one target."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="The phase's levels in words.")
    seconds: float = Field(description="Its length.")
    lanes: list[LaneResult] = Field(description="Each active lane.")
    server_cpu_s: float | None = Field(description="CPU seconds of the server; None: not local.")
    generator_cpu_s: float = Field(description="CPU seconds of the generator processes.")
    cpu_s_per_1000_texts: float | None = Field(description="Of the server.")
    generator_cpu_s_per_1000_texts: float | None = Field(description="Of the generators.")
    warnings: list[str] = Field(description="Why these numbers may not be the server's.")


class Fleet:
    """Generator processes that stay up between phases."""

    def __init__(self, address: Address, scenario: Scenario, *, processes: int) -> None:
        self._address, self._scenario = address, scenario
        self._count = processes
        self._folder = tempfile.TemporaryDirectory(prefix="loadtests-")
        self._children = [self._start() for _ in range(processes)]
        try:
            for index, child in enumerate(self._children):
                setup = {
                    "url": address.url,
                    "dialect": address.dialect,
                    "texts": scenario.texts,
                    "share": [index, processes],
                }
                _tell(child, setup)
            for child in self._children:
                _hear(child)
        except BaseException:
            self.close()
            raise

    def run(
        self, step: Step, *, pids: Pids, seed: str, kill_replica: Callable[[], None] | None = None
    ) -> StepResult:
        """Run one phase.

        Args:
            step: Levels and length.
            pids: The server's processes, for CPU time.
            seed: Of arrivals and texts.
            kill_replica: What to call ``kill_replica_at_s`` into the phase.
        """
        lanes = [self._scenario.lane(name) for name, level in step.levels.items() if level > 0]
        start_at_s = time.monotonic() + _LEAD_S
        outs = [Path(self._folder.name) / f"{i}.npz" for i in range(self._count)]
        for child, out in zip(self._children, outs, strict=True):
            phase = {
                "step": step.model_dump(),
                "lanes": [lane.model_dump() for lane in lanes],
                "seed": seed,
                "start_at_s": start_at_s,
                "out": str(out),
            }
            _tell(child, phase)
        with _timer(step, start_at_s, kill_replica):
            _sleep_until(start_at_s)
            meter = CpuMeter(pids)
            _sleep_until(start_at_s + step.seconds)
            server_cpu_s = meter.seconds()
            answers = [_hear(child) for child in self._children]
        requests = Requests.load(outs)
        used = [float(answer["cpu_s"]) for answer in answers]
        busiest = max(float(answer["busy"]) for answer in answers)
        return _step_result(step, lanes, requests, server_cpu_s, (sum(used), busiest))

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            if child.stdin:
                child.stdin.close()
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout:
                child.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "ignore", "-m", "loadtests.generator"]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )


def _step_result(
    step: Step,
    lanes: list[Lane],
    requests: Requests,
    server_cpu_s: float | None,
    generators: tuple[float, float],
) -> StepResult:
    """Reduce a phase; of the generators: all CPU seconds, and the busiest one's share of a CPU."""
    window = (step.settle_s, step.seconds)
    results = [
        lane_result(
            requests,
            lane=lane.name,
            arrivals=lane.arrivals,
            level=step.levels[lane.name],
            window=window,
        )
        for lane in lanes
    ]
    in_time = (requests.outcome == OK) & (requests.ended < step.seconds)
    thousands = float(requests.num_texts[in_time].sum()) / 1000
    total, busiest = generators
    return StepResult(
        name=step.name,
        seconds=step.seconds,
        lanes=results,
        server_cpu_s=server_cpu_s,
        generator_cpu_s=total,
        cpu_s_per_1000_texts=server_cpu_s / thousands if server_cpu_s and thousands else None,
        generator_cpu_s_per_1000_texts=total / thousands if thousands else None,
        warnings=_saturation(lanes, requests, busiest),
    )


def _saturation(lanes: list[Lane], requests: Requests, busiest: float) -> list[str]:
    """Why the generator may have been the bottleneck."""
    warnings = []
    if busiest > _BUSY:
        warnings.append(
            f"the generator is saturated: a process used {busiest:.0%} of a CPU; "
            "give more --processes, or another machine"
        )
    for lane in (lane for lane in lanes if lane.is_open):
        mine = requests.of_lane(lane.name)
        if not len(mine.sent):
            continue
        late_ms = float(np.percentile(mine.sent - mine.intended, 99)) * 1e3
        if late_ms > _LATE_MS:
            warnings.append(
                f"the generator was late in lane {lane.name}: 99 % of requests left within "
                f"{late_ms:.0f} ms of their time; latencies count it, so give more --processes, "
                "a lower rate, or another machine"
            )
    return warnings


@contextmanager
def _timer(step: Step, start_at_s: float, action: Callable[[], None] | None) -> Iterator[None]:
    """Call an action at its time; what it raises is raised at the end."""
    if step.kill_replica_at_s is None or action is None:
        yield
        return
    raised: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except BaseException as error:
            raised.append(error)

    timer = threading.Timer(start_at_s + step.kill_replica_at_s - time.monotonic(), act)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
    if raised:
        raise raised[0]


def _tell(child: subprocess.Popen[str], message: dict[str, Any]) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(json.dumps(message) + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        raise LoadTestError("a generator process ended; its error stands above") from None


def _hear(child: subprocess.Popen[str]) -> dict[str, Any]:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise LoadTestError(
            "a generator process ended; its error stands above (is the extra installed? "
            "pip install 'ernie-ray[loadtests]')"
        )
    answer: dict[str, Any] = json.loads(line)
    return answer


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))
