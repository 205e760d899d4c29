"""How many replicas a deployment needs: by the work that waits and how busy engines are.

A pure function of what replicas report, tried in simulation; Ray Serve applies bounds and delays.
Work is measured in seconds of one replica (queued tokens over tokens a second), not in requests:
one request may hold one short text or two thousand long ones. Imports nothing but the standard
library, since Serve's controller runs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

QUEUED = "queued_s"
UTILISATION = "utilisation"


@dataclass(frozen=True)
class ScalingTarget:
    """What a deployment is to be kept at.

    Attributes:
        utilisation: Share of the time that engines should be busy; the rest is room for bursts.
        drain_s: Seconds in which what waits should be worked off, beside what comes in.
        shrink_margin: Replicas go only if the rest would be this much below the target, so that
            load near a border does not make the number swing.
    """

    utilisation: float = 0.7
    drain_s: float = 5.0
    shrink_margin: float = 0.15


@dataclass(frozen=True)
class Work:
    """What all replicas of a deployment report together.

    Attributes:
        queued_s: Work that waits, in seconds of one replica.
        utilisation: Busy engines: the sum of the replicas' shares, so 2.0 is two that never rest.
        num_requests: Requests inside or on their way; they count only while there is no replica.
    """

    queued_s: float
    utilisation: float
    num_requests: float


def replicas_for(work: Work, num_replicas: int, target: ScalingTarget) -> int:
    """Replicas that would keep the target.

    Args:
        work: Of now, or a mean of the last seconds.
        num_replicas: How many there are.
        target: What to keep.

    Returns:
        The number wanted, before bounds; 0 if nothing is to be done.
    """
    if not num_replicas:
        return 1 if work.num_requests else 0
    needed = work.utilisation / target.utilisation + work.queued_s / target.drain_s
    # A whisker above a whole number is no reason for another replica.
    wanted = math.ceil(needed - 0.05)
    if wanted >= num_replicas:
        return wanted
    careful = needed / (1 - target.shrink_margin)
    if not needed:
        return 1 if work.num_requests else 0
    return min(num_replicas, max(1, math.ceil(careful - 0.05)))


def scale_by_work(ctx: Any, **settings: float) -> tuple[int, dict[str, Any]]:
    """Ray Serve's policy function: ``autoscaling_config.policy.policy_function``.

    Args:
        ctx: Serve's AutoscalingContext; replicas report through ``record_autoscaling_stats``.
        **settings: Fields of ``ScalingTarget``, from ``policy_kwargs``.
    """
    metrics = ctx.aggregated_metrics or {}
    work = Work(
        queued_s=_sum(metrics, QUEUED),
        utilisation=_sum(metrics, UTILISATION),
        num_requests=float(ctx.total_num_requests or 0),
    )
    return replicas_for(work, ctx.current_num_replicas, ScalingTarget(**settings)), {}


def _sum(metrics: Mapping[str, Mapping[Any, float]], name: str) -> float:
    return sum(float(value) for value in metrics.get(name, {}).values())
