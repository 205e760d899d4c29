"""Hand a replica's meters to Ray, whose agents export those of the whole cluster to Prometheus.

A meter of Ray's costs microseconds at each use, so the numbers are counted in plain Python and
handed over every few seconds. Histograms go as counters with an ``le`` label, which Prometheus'
``histogram_quantile`` reads alike; Ray puts ``ray_`` before every name and ``_total`` after those
of counters.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ray.util.metrics import Counter, Gauge

from ernie_ray.serving.meters import Labels, Meters, Sample

_PERIOD_S = 5.0


class RayMeters:
    """Copies ``Meters`` to Ray's in the background."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._exported: dict[str, Counter | Gauge] = {}
        self._before: dict[tuple[str, Labels], float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin on the running loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._export_for_ever())

    def stop(self) -> None:
        """Hand over the last numbers and end."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        with suppress(Exception):  # Ray may be gone already
            self.export()

    def export(self) -> None:
        """Hand over what changed since the last time."""
        for sample in self._meters.samples():
            key = (sample.name, sample.labels)
            delta = sample.value - self._before.get(key, 0.0)
            meter = self._meter(sample)
            if isinstance(meter, Gauge):
                meter.set(sample.value, dict(sample.labels))
            elif delta > 0:
                meter.inc(delta, dict(sample.labels))
                self._before[key] = sample.value

    async def _export_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            self.export()

    def _meter(self, sample: Sample) -> Counter | Gauge:
        if sample.name not in self._exported:
            kind = Gauge if sample.is_gauge else Counter
            self._exported[sample.name] = kind(
                sample.name.removesuffix("_total"),
                description="see ernie_ray/serving/service_metrics.py",
                tag_keys=tuple(key for key, _ in sample.labels),
            )
        return self._exported[sample.name]
