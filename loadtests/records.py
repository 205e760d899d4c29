"""What was measured of each request, and the numbers that a phase comes to.

Times are seconds from the start of the phase. Latency counts from the intended send time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

OK = "ok"
TIMEOUT = "timeout"


class Recorder:
    """Collects the requests of one process."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, float, float, float, int, str]] = []

    def add(
        self, lane: str, times: tuple[float, float, float], num_texts: int, outcome: str
    ) -> None:
        """Add one request.

        Args:
            lane: Its lane.
            times: When it was to be sent, was sent, and was answered.
            num_texts: Texts in it.
            outcome: ``ok``, or a kind of error.
        """
        self._rows.append((lane, *times, num_texts, outcome))

    def save(self, path: Path) -> None:
        """Write an .npz file."""
        columns = zip(*self._rows, strict=True) if self._rows else [()] * 6
        kinds = (np.str_, float, float, float, int, np.str_)
        names = ("lane", "intended", "sent", "ended", "num_texts", "outcome")
        arrays: dict[str, Any] = {
            name: np.array(column, dtype=kind)
            for name, column, kind in zip(names, columns, kinds, strict=True)
        }
        np.savez(path, **arrays)


@dataclass(frozen=True)
class Requests:
    """Requests of a phase, of all processes; every array is [requests]."""

    lane: NDArray[np.str_]
    intended: NDArray[np.float64]
    sent: NDArray[np.float64]
    ended: NDArray[np.float64]
    num_texts: NDArray[np.int64]
    outcome: NDArray[np.str_]

    @classmethod
    def load(cls, paths: list[Path]) -> Requests:
        """Read and join what processes wrote."""
        parts = []
        for path in paths:
            with np.load(path) as file:
                parts.append({name: file[name] for name in file.files})
        return cls(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def of_lane(self, lane: str) -> Requests:
        """Those of one lane."""
        return self.where(self.lane == lane)

    def where(self, mask: NDArray[np.bool_]) -> Requests:
        """Those that a mask selects."""
        return Requests(**{name: array[mask] for name, array in vars(self).items()})


class Second(BaseModel):
    """One second of a phase."""

    model_config = ConfigDict(frozen=True)

    at_s: int = Field(description="Start, in seconds from the start of the phase.")
    qps: float = Field(description="Requests answered in it.")
    errors: int = Field(description="Requests failed in it.")
    p99_ms: float | None = Field(description="Of requests that were to be sent in it.")


class LaneResult(BaseModel):
    """What one lane came to in one phase."""

    model_config = ConfigDict(frozen=True)

    lane: str = Field(description="Its name.")
    arrivals: str = Field(description="poisson, constant or closed.")
    level: float = Field(description="Requests a second asked for, or clients.")
    sent: int = Field(description="Requests that were to be sent in the measured time.")
    qps: float = Field(description="Requests answered well, a second of the measured time.")
    texts_per_s: float = Field(description="Texts in them, a second.")
    answered_fraction: float = Field(description="qps / requests a second sent.")
    p50_ms: float | None = Field(description="Median latency in milliseconds; None: no answer.")
    p95_ms: float | None = Field(description="95th percentile.")
    p99_ms: float | None = Field(description="99th percentile.")
    max_ms: float | None = Field(description="Longest.")
    errors: dict[str, int] = Field(description="Failed requests by kind.")
    error_fraction: float = Field(description="Failed / sent.")
    timeline: list[Second] = Field(description="Second by second.")


def lane_result(
    requests: Requests, *, lane: str, arrivals: str, level: float, window: tuple[float, float]
) -> LaneResult:
    """Reduce one lane of a phase.

    Latencies are of requests that were to be sent within the window. Time-outs count with the
    time waited: leaving them out would flatter the percentiles. Quick refusals (429, 503) do not,
    for the opposite reason; they stand under errors.

    Args:
        requests: All requests of the phase.
        lane: Which lane.
        arrivals: Its arrivals.
        level: Its level.
        window: Start and end of the measured time, in seconds.
    """
    mine = requests.of_lane(lane)
    start, end = window
    meant = mine.where((mine.intended >= start) & (mine.intended < end))
    done = mine.where((mine.outcome == OK) & (mine.ended >= start) & (mine.ended < end))
    failed = meant.where(meant.outcome != OK)
    timed = meant.where((meant.outcome == OK) | (meant.outcome == TIMEOUT))
    latency_ms = (timed.ended - timed.intended) * 1e3
    kinds, counts = np.unique(failed.outcome, return_counts=True)
    num_meant = len(meant.intended)
    qps = len(done.ended) / (end - start)
    return LaneResult(
        lane=lane,
        arrivals=arrivals,
        level=level,
        sent=num_meant,
        qps=qps,
        texts_per_s=float(done.num_texts.sum()) / (end - start),
        answered_fraction=qps * (end - start) / num_meant if num_meant else 0.0,
        p50_ms=_percentile(latency_ms, 50),
        p95_ms=_percentile(latency_ms, 95),
        p99_ms=_percentile(latency_ms, 99),
        max_ms=_percentile(latency_ms, 100),
        errors={str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)},
        error_fraction=len(failed.intended) / num_meant if num_meant else 0.0,
        timeline=_timeline(mine, end),
    )


def _timeline(requests: Requests, end_s: float) -> list[Second]:
    is_ok = requests.outcome == OK
    seconds = []
    for at in range(int(np.ceil(end_s))):
        ended = (requests.ended >= at) & (requests.ended < at + 1)
        meant = (requests.intended >= at) & (requests.intended < at + 1)
        timed = meant & (is_ok | (requests.outcome == TIMEOUT))
        latency_ms = (requests.ended - requests.intended)[timed] * 1e3
        seconds.append(
            Second(
                at_s=at,
                qps=float((ended & is_ok).sum()),
                errors=int((ended & ~is_ok).sum()),
                p99_ms=_percentile(latency_ms, 99),
            )
        )
    return seconds


def _percentile(values: NDArray[np.float64], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 3) if len(values) else None
