"""The same scenarios in Locust's own web interface; started by `python -m loadtests ui`."""

from __future__ import annotations

import os
from itertools import count
from typing import Any

from locust import LoadTestShape, User, events

from loadtests.errors import ScenarioError
from loadtests.scenario import Scenario, load_scenario
from loadtests.texts import read_texts
from loadtests.users import Plan, user_class

_PROCESSES = int(os.environ.get("LOADTESTS_PROCESSES", "1"))


def _scenario() -> Scenario:
    scenario = load_scenario(os.environ["LOADTESTS_SCENARIO"])
    if os.environ.get("LOADTESTS_SCALE"):
        return scenario.scaled(float(os.environ["LOADTESTS_SCALE"]))
    if scenario.rates_are == "share_of_capacity":
        raise ScenarioError(
            f"{scenario.name}: its rates are shares; give --scale REQUESTS_A_SECOND"
        )
    return scenario


def _user_classes(scenario: Scenario) -> dict[str, type[User]]:
    """A class a lane by name, with the number of users of all processes together."""
    texts, steps = read_texts(scenario.texts), tuple(scenario.steps())
    classes = {}
    for lane in scenario.lanes:
        plan = Plan(lane, steps, texts, seed=str(scenario.seed), share=(0, _PROCESSES))
        made = user_class(os.environ["LOADTESTS_URL"], os.environ["LOADTESTS_DIALECT"], plan)
        clients = int(max(step.levels.get(lane.name, 0) for step in steps))
        made.fixed_count = _PROCESSES if lane.is_open else clients  # Locust deals them out
        classes[made.__name__] = made
    return classes


_SCENARIO = _scenario()
_CLASSES = _user_classes(_SCENARIO)
globals().update(_CLASSES)  # where Locust looks for them
_TOTAL_USERS = sum(one.fixed_count for one in _CLASSES.values())
_GRACE_S = 5.0  # for users that start late and last answers; users end by themselves
_TOTAL_S = sum(step.seconds for step in _SCENARIO.steps()) + _GRACE_S


class WholeScenario(LoadTestShape):
    """Starts every user at once and ends after the last phase."""

    def tick(self) -> tuple[int, float] | None:
        """See LoadTestShape."""
        run_s: float = self.get_run_time()  # type: ignore[no-untyped-call]
        return None if run_s > _TOTAL_S else (_TOTAL_USERS, _TOTAL_USERS)


@events.test_start.add_listener
def _take_share(environment: Any, **_: object) -> None:
    """Each worker makes its own part of the load."""
    index = getattr(environment.runner, "worker_index", 0)
    for made in environment.user_classes:
        made.plan = Plan(**{**vars(made.plan), "share": (index, _PROCESSES)})
        made.numbers = count()  # a second test in the same page begins anew
