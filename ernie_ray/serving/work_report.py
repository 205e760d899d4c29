"""What one replica reports of its engines, for the policy that chooses the number of replicas."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ernie_ray.inference.batcher import Batcher
from ernie_ray.serving.autoscaling import QUEUED, UTILISATION

# Assumed until the first batch has been timed.
_TOKENS_PER_S = 1000.0


class WorkReport:
    """Turns queues and busy times into seconds of work and a share of time."""

    def __init__(self, batchers: Iterable[Batcher]) -> None:
        """Watch the queues of one replica."""
        self._batchers = list(batchers)
        self._before_s = time.monotonic()
        self._busy_before_s = 0.0

    def take(self, now_s: float | None = None) -> dict[str, float]:
        """Work that waits, and how busy the engines were since the last call.

        Args:
            now_s: The time; None: now.
        """
        now_s = time.monotonic() if now_s is None else now_s
        busy_s = sum(one.busy_s / one.limits.num_slots for one in self._batchers)
        elapsed_s = max(now_s - self._before_s, 1e-3)
        share = min((busy_s - self._busy_before_s) / elapsed_s, 1.0)
        self._before_s, self._busy_before_s = now_s, busy_s
        queued_s = sum(
            one.num_queued_tokens / (one.tokens_per_s or _TOKENS_PER_S) for one in self._batchers
        )
        return {QUEUED: queued_s, UTILISATION: share}
