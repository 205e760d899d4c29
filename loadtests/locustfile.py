"""The same scenarios in Locust's own web interface; started by `python -m loadtests ui`."""

from __future__ import annotations

import os
from typing import Any

from locust import LoadTestShape, events

from loadtests.errors import ScenarioError
from loadtests.scenario import load_scenario
from loadtests.texts import read_texts
from loadtests.users import Plan, user_class

_PROCESSES = int(os.environ.get("LOADTESTS_PROCESSES", "1"))
_scenario = load_scenario(os.environ["LOADTESTS_SCENARIO"])
if os.environ.get("LOADTESTS_SCALE"):
    _scenario = _scenario.scaled(float(os.environ["LOADTESTS_SCALE"]))
if _scenario.rates_are == "share_of_capacity":
    raise ScenarioError(f"{_scenario.name}: its rates are shares; give --scale REQUESTS_A_SECOND")
_texts, _steps = read_texts(_scenario.texts), tuple(_scenario.steps())
_total_users = 0

for _lane in _scenario.lanes:
    _plan = Plan(_lane, _steps, _texts, seed=str(_scenario.seed), share=(0, _PROCESSES))
    _made: Any = user_class(os.environ["LOADTESTS_URL"], os.environ["LOADTESTS_DIALECT"], _plan)
    # Of all processes together; Locust deals them out.
    _made.fixed_count = (
        _PROCESSES
        if _lane.is_open
        else int(max((step.levels.get(_lane.name, 0) for step in _steps), default=0))
    )
    _total_users += _made.fixed_count
    globals()[_made.__name__] = _made


class WholeScenario(LoadTestShape):
    """Starts every user at once and ends after the last phase."""

    def tick(self) -> tuple[int, float] | None:
        """See LoadTestShape."""
        run_s: float = self.get_run_time()  # type: ignore[no-untyped-call]
        is_over = run_s > sum(step.seconds for step in _steps)
        return None if is_over else (_total_users, _total_users)


@events.test_start.add_listener
def _take_share(environment: Any, **_: object) -> None:
    """Each worker makes its own part of the load."""
    index = getattr(environment.runner, "worker_index", 0)
    for made in environment.user_classes:
        made.plan = Plan(**{**vars(made.plan), "share": (index, _PROCESSES)})
