"""Scenario files: all of ours are read, and mistakes are named."""

import pytest

from loadtests.errors import ScenarioError
from loadtests.scenario import SCENARIOS, Lane, load_scenario
from loadtests.texts import TextDraw, read_texts

NAMES = sorted(path.stem for path in SCENARIOS.glob("*.toml"))
GOOD = """
name = "good"
description = "-"
[[lanes]]
name = "single"
[[phases]]
levels = { single = [1, 2, 1] }
seconds = 2
"""


def written(tmp_path, text):
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_of_ours_is_valid_and_its_phases_have_distinct_names(name):
    steps = load_scenario(name).steps()
    assert len({step.name for step in steps}) == len(steps) > 0


def test_the_scenarios_of_the_method_are_there():
    assert {
        *("steady", "ramp", "burst", "mixed-lanes", "bulk", "overload", "replica-kill", "soak"),
        "announcement-2019",
    } <= set(NAMES)


def test_the_announcements_comparison_has_its_lengths_and_clients_for_single_texts_and_bulk():
    scenario = load_scenario("announcement-2019")
    for kind in ("single", "bulk"):
        lanes = [lane for lane in scenario.lanes if lane.name.startswith(kind)]
        assert [lane.text_characters for lane in lanes] == [20, 40, 80, 160, 320]
        assert {lane.texts_per_request > 1 for lane in lanes} == {kind == "bulk"}
        for lane in lanes:
            clients = [
                step.levels[lane.name] for step in scenario.steps() if lane.name in step.levels
            ]
            assert min(clients) == 1
            # Many clients with 32 long texts each would wait for minutes.
            assert max(clients) == 64 or (kind == "bulk" and lane.text_characters > 20)


def test_lists_make_a_phase_for_each_element(tmp_path):
    steps = load_scenario(written(tmp_path, GOOD)).steps()
    assert [step.levels["single"] for step in steps] == [1, 2, 1]
    assert [step.name for step in steps] == ["single 1", "single 2", "single 1 #2"]


def test_scaling_changes_rates_but_not_numbers_of_clients():
    scaled = load_scenario("mixed-lanes").scaled(100)
    assert scaled.steps()[1].levels == {"single": 30.0, "bulk": 1.0}
    assert scaled.rates_are == "per_second"


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("seconds = 2", "second = 2", "second"),
        ("single = [1", "bulk = [1", "bulk"),
        ("seconds = 2", "seconds = 0", "seconds"),
        ("[[lanes]]", "[[lanes", "scenario.toml"),
    ],
)
def test_a_mistake_in_a_file_is_an_error_that_names_it(tmp_path, wrong, right, said):
    with pytest.raises(ScenarioError, match=said):
        load_scenario(written(tmp_path, GOOD.replace(wrong, right)))


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(ScenarioError, match="steady"):
        load_scenario("stedy")


def test_texts_of_a_lane_have_the_length_that_it_asks_for():
    texts = read_texts("chinese")
    draw = TextDraw(texts, Lane(name="x", text_characters=320, texts_per_request=3), "seed")
    assert all(300 <= len(text) <= 320 for text in draw.request())


def test_default_lengths_are_those_of_the_sentences():
    texts = read_texts("both")
    draw = TextDraw(texts, Lane(name="x"), "seed")
    drawn = [draw.request()[0] for _ in range(500)]
    assert set(drawn) <= set(texts)
    assert len(set(drawn)) > len(texts) / 2
    assert max(map(len, drawn)) > 10 * min(map(len, drawn))


def test_a_file_of_texts_is_read_line_by_line(tmp_path):
    (tmp_path / "texts.txt").write_text("one\n\n two \none\n", encoding="utf-8")
    assert read_texts(str(tmp_path / "texts.txt")) == ["one", "two"]
    with pytest.raises(ScenarioError, match="no file"):
        read_texts(str(tmp_path / "none.txt"))
