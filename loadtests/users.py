"""Locust users that make the load of one lane: open loop by a schedule, or closed loop.

In an open loop requests leave at times fixed beforehand, whether or not earlier ones were
answered, and latency counts from that time: a server that stalls cannot hide it (no coordinated
omission). The same users run below the command line and below Locust's own web interface.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent.pool import Pool
from locust import User
from locust.exception import StopUser

from loadtests.arrivals import intended_times
from loadtests.dialects import dialect_of
from loadtests.records import OK, Recorder
from loadtests.scenario import Lane, Step
from loadtests.senders import MAX_IN_FLIGHT, BertServingSender, GrpcSender, HttpSender, now_s
from loadtests.texts import TextDraw

_SENDERS: dict[str, type[User]] = {"grpc": GrpcSender, "tcp": BertServingSender}
_PAUSE_AFTER_ERROR_S = 0.05
"""A closed-loop client whose request failed at once must not turn into a busy loop."""


@dataclass(frozen=True)
class Plan:
    """What the users of one lane in one process are to do.

    Attributes:
        lane: Their lane.
        steps: Phases, one after the other.
        texts: What to draw texts from.
        seed: Of arrivals and texts.
        share: Index of this process and number of processes; each makes its part of the load.
        start_at_s: When the first phase starts, by ``now_s``; None: when the user does.
        recorder: Where requests are noted down; None: Locust's own statistics only.
    """

    lane: Lane
    steps: tuple[Step, ...]
    texts: list[str]
    seed: str
    share: tuple[int, int] = (0, 1)
    start_at_s: float | None = None
    recorder: Recorder | None = None

    @property
    def num_users(self) -> int:
        """Users that this process needs."""
        index, processes = self.share
        if self.lane.is_open:
            return 1
        most = max((step.levels.get(self.lane.name, 0) for step in self.steps), default=0)
        return max(0, math.ceil((most - index) / processes))


def user_class(url: str, dialect: str, plan: Plan) -> type[User]:
    """A Locust user class for one lane.

    Args:
        url: The target; ``grpc://`` for our gRPC service, ``tcp://`` for bert-serving's protocol.
        dialect: How it is asked over HTTP.
        plan: What to do.
    """
    base: type[User] = _SENDERS.get(urlsplit(url).scheme, HttpSender)
    attributes: dict[str, Any] = {
        "host": url,
        "network_timeout": plan.lane.timeout_s,
        "connection_timeout": plan.lane.timeout_s,
        "fixed_count": plan.num_users,
        "tasks": [_drive_open if plan.lane.is_open else _drive_closed],
        "concurrency": MAX_IN_FLIGHT if plan.lane.is_open else 1,
        "plan": plan,
        "numbers": count(),
    }
    if base is HttpSender:
        attributes["dialect"] = dialect_of(dialect)
    return type(f"Lane_{plan.lane.name.replace('-', '_')}", (base,), attributes)


def _drive_open(user: Any) -> None:
    plan: Plan = user.plan
    start_s, draw, number = _begin(user)
    in_flight = Pool(MAX_IN_FLIGHT)
    for i, step in enumerate(plan.steps):
        times = intended_times(
            plan.lane.arrivals,
            step.levels.get(plan.lane.name, 0.0),
            step.seconds,
            seed=f"{plan.seed}/{i}/{plan.lane.name}/{number}",
            share=plan.share,
        )
        for at_s in times.tolist():
            # Even when late: it lets answers in.
            gevent.sleep(max(0.0, start_s + at_s - now_s()))
            in_flight.spawn(_send, user, draw.request(), start_s, at_s)
        start_s += step.seconds
        gevent.sleep(max(0.0, start_s - now_s()))
    in_flight.join()
    raise StopUser


def _drive_closed(user: Any) -> None:
    plan: Plan = user.plan
    start_s, draw, number = _begin(user)
    for step in plan.steps:
        gevent.sleep(max(0.0, start_s - now_s()))
        end_s = start_s + step.seconds
        if number < step.levels.get(plan.lane.name, 0):
            while (now := now_s()) < end_s:
                if _send(user, draw.request(), start_s, now - start_s) != OK:
                    gevent.sleep(_PAUSE_AFTER_ERROR_S)
        start_s = end_s
    gevent.sleep(max(0.0, start_s - now_s()))
    raise StopUser


def _begin(user: Any) -> tuple[float, TextDraw, int]:
    """When to start, what to send, and this user's number among those of all processes."""
    plan: Plan = user.plan
    index, processes = plan.share
    number = next(user.numbers) * processes + index
    start_s = now_s() if plan.start_at_s is None else plan.start_at_s
    return start_s, TextDraw(plan.texts, plan.lane, f"{plan.seed}/{number}"), number


def _send(user: Any, texts: list[str], start_s: float, intended_s: float) -> str:
    plan: Plan = user.plan
    sent_s = now_s() - start_s
    outcome: str = user.send_texts(texts)
    ended_s = now_s() - start_s
    if plan.recorder is not None:
        times = (intended_s, sent_s, ended_s)
        plan.recorder.add(plan.lane.name, times, len(texts), outcome)
    user.environment.events.request.fire(
        request_type=plan.lane.arrivals,
        name=plan.lane.name,
        response_time=(ended_s - intended_s) * 1e3,
        response_length=0,
        exception=None if outcome == OK else RuntimeError(outcome),
        context={},
    )
    return outcome
