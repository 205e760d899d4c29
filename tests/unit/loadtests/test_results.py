"""What a comparison says of the phases of its targets."""

import pytest

from loadtests.fleet import StepResult
from loadtests.records import LaneResult
from loadtests.report import to_html
from loadtests.results import Comparison, Round, TargetResult, knees
from loadtests.scenario import Knee, Lane, Phase, Scenario

LANES = (Lane(name="single", arrivals="poisson"), Lane(name="bulk", arrivals="poisson"))


def scenario(**levels):
    phase = Phase(levels=levels, seconds=3)
    return Scenario(name="test", description="-", lanes=LANES, phases=(phase,), knee=Knee())


def a_round(name, **held):
    """Rates of the lane ``single``, and whether each was held."""
    return Round(steps=[step(f"{name}{rate}", rate, ok) for rate, ok in held["rates"].items()])


def step(name, rate, is_held):
    lane = LaneResult(
        lane="single", arrivals="poisson", level=rate, sent=100, qps=rate if is_held else rate / 2,
        texts_per_s=rate, answered_fraction=1.0 if is_held else 0.5, p50_ms=1, p95_ms=1, p99_ms=1,
        max_ms=1, errors={}, error_fraction=0, timeline=[],
    )  # fmt: skip
    return StepResult(
        name=name, seconds=3, lanes=[lane], server_cpu_s=None, generator_cpu_s=1,
        cpu_s_per_1000_texts=None, generator_cpu_s_per_1000_texts=None, warnings=[],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rounds", "knee"),
    [
        ([{20: True, 40: True}, {20: True, 40: True}], 40),
        ([{20: True, 40: False}, {20: True, 40: True, 60: True}], 20),
        ([{20: False}, {20: True}], None),
        ([], None),
    ],
)
def test_a_rate_is_held_if_every_round_came_to_it_and_held_it(rounds, knee):
    target = TargetResult(name="ours", rounds=[a_round("at ", rates=rates) for rates in rounds])
    found = knees(target, scenario(single=[20, 40, 60]))
    assert found == {"single": knee, "bulk": None}


def test_a_report_shows_phases_in_which_a_lane_is_idle():
    plan = scenario(single=[20, 20], bulk=[0, 2])
    names = [one.name for one in plan.steps()]
    target = TargetResult(name="ours", rounds=[Round(steps=[step(n, 20, True) for n in names])])
    comparison = Comparison(
        command="-", commit=None, date="-", machine="-", scenario=plan, generator_processes=1,
        targets=[target],
    )  # fmt: skip
    assert "Lane bulk" in to_html(comparison)
