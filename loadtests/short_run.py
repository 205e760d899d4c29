"""A short measurement of one running service: what `run` prints."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field
from tqdm import tqdm

from loadtests import equality
from loadtests.errors import LoadTestError
from loadtests.fleet import Address, Fleet, StepResult
from loadtests.scenario import Lane, Phase, Scenario
from loadtests.targets.url import local_pids

_SHARE_OF_QPS = 0.6
"""Open-loop rate, of the closed loop's: below the knee, where latency means something."""


@dataclass(frozen=True)
class Ask:
    """What to measure.

    Attributes:
        seconds: Length of both parts together.
        clients: Waiting clients of the first part.
        texts: See ``read_texts``.
        texts_per_request: Texts in one request.
        processes: Generator processes.
    """

    seconds: float
    clients: int
    texts: str
    texts_per_request: int
    processes: int


class ShortRun(BaseModel):
    """Throughput of waiting clients, and latencies of Poisson arrivals below it."""

    model_config = ConfigDict(frozen=True)

    closed: StepResult = Field(description="Closed loop: throughput.")
    opened: StepResult | None = Field(description="Open loop; None: nothing was answered before.")

    def summary(self) -> str:
        """Lines to print."""
        closed = self.closed.lanes[0]
        lines = [
            f"{closed.qps:,.1f} requests/s ({closed.texts_per_s:,.1f} texts/s) "
            f"with {closed.level:g} clients"
        ]
        if self.opened:
            lane = self.opened.lanes[0]
            p50, p95, p99 = (
                "-" if x is None else f"{x:.1f}" for x in (lane.p50_ms, lane.p95_ms, lane.p99_ms)
            )
            lines.append(
                f"p50 {p50} ms, p95 {p95} ms, p99 {p99} ms at {lane.level:,.1f} requests/s"
            )
        parts = [self.closed, *([self.opened] if self.opened else [])]
        errors: dict[str, int] = {}
        for part in parts:
            for kind, count in part.lanes[0].errors.items():
                errors[kind] = errors.get(kind, 0) + count
        shown = ", ".join(f"{kind}: {count}" for kind, count in errors.items())
        lines.append(f"errors: {shown or 'none'}")
        if closed_cpu := self.closed.cpu_s_per_1000_texts:
            generator = self.closed.generator_cpu_s_per_1000_texts or 0.0
            lines.append(
                f"CPU seconds per 1,000 texts: server {closed_cpu:.2f}, generator {generator:.2f}"
            )
        return "\n".join(lines + [text for part in parts for text in part.warnings])


def short_run(address: Address, ask: Ask) -> ShortRun:
    """Measure a service that runs already.

    Raises:
        LoadTestError: It does not answer.
    """
    equality.vectors_of(address, ["Does it answer?"])
    third = ask.seconds / 3
    lanes = (
        Lane(name="closed", arrivals="closed", texts_per_request=ask.texts_per_request),
        Lane(name="open", texts_per_request=ask.texts_per_request),
    )
    scenario = Scenario(
        name="run",
        description="A short run.",
        texts=ask.texts,
        lanes=lanes,
        phases=(Phase(levels={"closed": ask.clients}, seconds=third, settle_s=third / 5),),
    )
    with (
        Fleet(address, scenario, processes=ask.processes) as fleet,
        tqdm(total=round(ask.seconds), unit="s", desc="load test") as bar,
    ):

        def run(part: Scenario) -> StepResult:
            (step,) = part.steps()
            result = fleet.run(step, pids=lambda: local_pids(address.url), seed="run")
            bar.update(round(step.seconds))
            return result

        closed = run(scenario)
        rate = closed.lanes[0].qps * _SHARE_OF_QPS
        if not rate:
            raise LoadTestError(
                f"{address.url} answered no request well; errors: {closed.lanes[0].errors}"
            )
        phase = Phase(levels={"open": rate}, seconds=ask.seconds - third, settle_s=0.5)
        opened = run(scenario.model_copy(update={"phases": (phase,)}))
    return ShortRun(closed=closed, opened=opened)
