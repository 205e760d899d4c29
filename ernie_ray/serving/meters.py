"""Counters and histograms that cost next to nothing to use, and their Prometheus text.

Plain numbers of one process: used on one event loop, without locks. Knows neither Ray nor routes;
``ernie_ray.serving.ray_meters`` hands the numbers on to Ray's own exporter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Labels = tuple[tuple[str, str], ...]

SECONDS = tuple(1e-4 * 2**i for i in range(20))
"""Bucket bounds from 0.1 ms to 52 s."""
COUNTS = tuple(2.0**i for i in range(17))
"""Bucket bounds from 1 to 65,536."""


@dataclass(frozen=True)
class Sample:
    """One number to export, as Prometheus names it."""

    name: str
    labels: Labels
    value: float
    is_gauge: bool = False


class Counter:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, value: float = 1.0) -> None:
        """Grow."""
        self.value += value


class Histogram:
    """Counts of values by bucket, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Meters:
    """Every meter of a process by name and labels."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, Labels], Counter] = {}
        self._histograms: dict[tuple[str, Labels], Histogram] = {}
        self._gauges: dict[tuple[str, Labels], Callable[[], float]] = {}

    def counter(self, name: str, **labels: str) -> Counter:
        """The counter of that name and labels; ``name`` ends in ``_total``."""
        return self._counters.setdefault((name, tuple(labels.items())), Counter())

    def histogram(self, name: str, bounds: Sequence[float], **labels: str) -> Histogram:
        """The histogram of that name and labels."""
        return self._histograms.setdefault((name, tuple(labels.items())), Histogram(bounds))

    def gauge(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """Export what ``read`` gives whenever someone looks."""
        self._gauges[name, tuple(labels.items())] = read

    def samples(self) -> Iterator[Sample]:
        """Every number now; histograms as cumulative ``_bucket``, ``_sum`` and ``_count``."""
        for (name, labels), counter in self._counters.items():
            yield Sample(name, labels, counter.value)
        for (name, labels), read in self._gauges.items():
            yield Sample(name, labels, read(), is_gauge=True)
        for (name, labels), histogram in self._histograms.items():
            below = 0
            for bound, count in zip(
                (*histogram.bounds, float("inf")), histogram.counts, strict=True
            ):
                below += count
                le = "+Inf" if bound == float("inf") else f"{bound:g}"
                yield Sample(f"{name}_bucket", (*labels, ("le", le)), below)
            yield Sample(f"{name}_sum", labels, histogram.total)
            yield Sample(f"{name}_count", labels, below)

    def text(self) -> str:
        """The Prometheus text format, types included."""
        types = {
            **{name: "counter" for name, _ in self._counters},
            **{name: "gauge" for name, _ in self._gauges},
            **{name: "histogram" for name, _ in self._histograms},
        }
        lines = []
        typed: set[str] = set()
        for sample in sorted(self.samples(), key=lambda one: _family(one.name, types)):
            family = _family(sample.name, types)
            if family not in typed:
                typed.add(family)
                lines.append(f"# TYPE {family} {types[family]}")
            labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels)
            lines.append(f"{sample.name}{{{labels}}} {sample.value:.10g}")
        return "\n".join(lines) + "\n"


def _family(name: str, types: dict[str, str]) -> str:
    return name if name in types else name.rsplit("_", 1)[0]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
