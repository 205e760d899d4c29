"""`python -m loadtests` as a user runs it, against servers that run already."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import xml.etree.ElementTree as ET
from contextlib import suppress
from pathlib import Path

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from ernie_ray.cli.free_ports import free_ports
from loadtests.curves import COLOURS
from loadtests.report import lane_curves
from loadtests.results import Comparison
from loadtests.screenshot import browser
from tests.fake_embedding_server import fake_server

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
SCENARIO = """
name = "short"
description = "A ramp & some waiting clients."
rounds = 2
warm_up_s = 0.3
[[lanes]]
name = "clients"
arrivals = "closed"
[[lanes]]
name = "single"
[[phases]]
levels = { clients = [1, 3] }
seconds = 1
[[phases]]
levels = { single = [10, 30, 50] }
seconds = 1
[[thresholds]]
metric = "error_fraction"
target = "TARGET"
at_most = 0.0
"""


def loadtests(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "loadtests", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


def compare(folder, servers, *options, extra=""):
    scenario = folder / "short.toml"
    scenario.write_text(SCENARIO.replace("TARGET", servers[0].url) + extra)
    targets = ",".join(server.url for server in servers)
    done = loadtests(
        *("compare", "--targets", targets, "--scenario", scenario),
        *("--out", folder / "report", *options),
    )
    return done, Comparison.model_validate_json((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the comparison leaves its report."""
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def comparison(folder):
    """Two equal servers and one with other vectors, compared once for many tests."""
    with fake_server() as one, fake_server() as two, fake_server() as other:
        other.direction = -1000.0
        done, found = compare(folder, [one, two, other])
        names = [server.url for server in (one, two, other)]
    assert done.returncode == 0, done.stderr
    return found, (folder / "report.html").read_text(), names, done


def test_targets_take_turns_and_each_has_every_phase_in_every_round(comparison):
    found, _, (one, two, _), done = comparison
    turns = re.findall(r"round (\d), (\S+?)[\],]", done.stderr)
    order = [turn for i, turn in enumerate(turns) if i == 0 or turn != turns[i - 1]]
    assert order == [("1", one), ("1", two), ("2", one), ("2", two)]
    assert [[len(r.steps) for r in target.rounds] for target in found.targets[:2]] == [[5, 5]] * 2


def test_vectors_are_compared_before_and_another_model_is_reported_instead_of_timed(comparison):
    found, html, _, done = comparison
    assert found.targets[1].least_cosine == pytest.approx(1)
    other = found.targets[2]
    assert other.least_cosine < 0.5
    assert other.rounds == []
    assert "two different things" in other.unavailable
    assert "two different things" in html
    assert "two different things" in done.stderr


def test_ratios_carry_their_spread_over_rounds(comparison):
    found, _, (_, two, _), _ = comparison
    ratio = next(one for one in found.ratios if one.metric == "qps" and one.step == "single 30")
    assert ratio.target == two
    assert 0 < ratio.ratio.low <= ratio.ratio.median <= ratio.ratio.high


def test_the_report_is_one_file_that_loads_nothing(comparison):
    _, html, _, _ = comparison
    assert "<script" not in html
    assert re.findall(r'(?:src|href)="(?!#)([^"]*)"', html) == []
    assert "A ramp &amp; some waiting clients." in html


def test_the_svg_holds_the_curves_that_the_json_holds(comparison):
    found, html, (one, two, _), _ = comparison
    drawn = drawn_curves(html)
    expected = {
        curve.key: curve for lane in found.scenario.lanes for curve in lane_curves(found, lane)
    }
    assert set(expected) == {
        f"{lane}|{target}|{percentile}"
        for lane in ("clients", "single")
        for target in (one, two)
        for percentile in ("p50", "p95", "p99")
    }
    for lane in ("clients", "single"):
        mine = {key: curve for key, curve in expected.items() if key.startswith(f"{lane}|")}
        xs = np.concatenate([curve.xs for curve in mine.values()])
        ys = np.log10(np.concatenate([curve.ys for curve in mine.values()]))
        points = np.concatenate([drawn[key] for key in mine])
        # All curves of a chart lie in one coordinate system: a line maps values to pixels.
        for values, pixels in ((xs, points[:, 0]), (ys, points[:, 1])):
            slope, shift = np.polyfit(values, pixels, 1)
            np.testing.assert_allclose(slope * values + shift, pixels, atol=0.01)


@pytest.mark.skipif(browser() is None, reason="needs Chromium; apt install chromium")
def test_a_screenshot_shows_the_curves_of_the_report(comparison, tmp_path):
    (tmp_path / "report.html").write_text(comparison[1])
    picture = tmp_path / "docs" / "report.png"
    done = loadtests("screenshot", tmp_path / "report.html", picture)
    assert done.returncode == 0, done.stderr
    pixels = matplotlib.image.imread(picture)
    assert pixels.shape[:2] == (1600, 1100)
    for colour in COLOURS[:2]:  # of the two targets that were measured
        distance = np.abs(pixels[..., :3] - matplotlib.colors.to_rgb(colour)).max(axis=-1)
        assert (distance < 0.02).sum() > 100


def test_the_table_for_the_documentation_names_command_date_and_every_cell(comparison, folder):
    found, _, (one, two, _), _ = comparison
    table = (folder / "report.md").read_text()
    assert found.command in table
    assert found.date in table
    for target in (one, two):
        assert table.count(target + " |") == 5


def drawn_curves(html):
    """Points of every curve of a report, by its id, in SVG units."""
    found = {}
    for svg in re.findall(r"<svg.*?</svg>", html, re.S):
        for group in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}g"):
            if "|" in group.get("id", ""):
                path = group.find("{http://www.w3.org/2000/svg}path").get("d")
                numbers = re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path)
                found[group.get("id")] = np.array(numbers, dtype=float)
    return found


def test_a_threshold_that_fails_ends_with_status_1_and_is_named(tmp_path):
    bound = '[[thresholds]]\nmetric = "qps"\ntarget = "URL"\nphase = "clients 1"\nat_least = 1e9\n'
    with fake_server() as server:
        done, found = compare(
            tmp_path, [server], "--rounds", 1, extra=bound.replace("URL", server.url)
        )
    assert done.returncode == 1
    assert "fails" in done.stderr
    assert [one.holds for one in found.verdicts].count(False) == 1


def test_a_target_that_is_not_there_is_reported_and_fails_its_threshold(tmp_path):
    with fake_server() as server:
        pass
    done, found = compare(tmp_path, [server])
    assert done.returncode == 1
    assert "no vectors from" in found.targets[0].unavailable
    assert not any(one.holds for one in found.verdicts)


def test_a_peer_that_cannot_be_installed_gives_its_reason(tmp_path, monkeypatch):
    from loadtests.environments import peer_python
    from loadtests.errors import TargetUnavailableError

    monkeypatch.setenv("LOADTESTS_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(TargetUnavailableError, match=r"peer cannot be installed: \S"):
        peer_python("peer", ["anything"])


def test_a_short_run_prints_qps_and_percentiles(tmp_path):
    with fake_server() as server:
        done = loadtests("run", "--url", server.url, "--seconds", 3, "--json", tmp_path / "x.json")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"[\d,.]+ requests/s .* with 16 clients\np50 .* ms, .*p99 .* ms at", done.stdout
    )
    assert "errors: none" in done.stdout
    assert json.loads((tmp_path / "x.json").read_text())["closed"]["lanes"][0]["qps"] > 0


def test_a_short_run_of_nothing_is_one_clear_line():
    done = loadtests("run", "--url", "http://127.0.0.1:9", "--seconds", 3)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no vectors from http://127.0.0.1:9")


def test_locusts_own_front_end_runs_the_same_scenario_in_several_processes(tmp_path):
    scenario = tmp_path / "short.toml"
    scenario.write_text(SCENARIO.replace("TARGET", "x"))
    with fake_server() as server:
        ui = ["ui", "--url", server.url, "--scenario", scenario, "--processes", 2]
        done = loadtests(*ui, "--headless", "--csv", tmp_path / "locust")
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (tmp_path / "locust_stats.csv").read_text().splitlines()
    counts = {line.split(",")[1]: int(line.split(",")[2]) for line in lines[1:]}
    assert counts["single"] == pytest.approx(90, abs=40)
    assert counts["clients"] > 20


def test_locusts_web_page_starts_the_same_scenario_and_shows_its_numbers(tmp_path):
    scenario = tmp_path / "short.toml"
    scenario.write_text(SCENARIO.replace("TARGET", "x"))
    (port,) = free_ports(1)
    page = f"http://127.0.0.1:{port}"

    def ask(path, data=None):
        with urllib.request.urlopen(page + path, data, timeout=10) as answer:
            return answer.read().decode()

    def counts():
        stats = json.loads(ask("/stats/requests"))["stats"]
        return {one["name"]: one["num_requests"] for one in stats}

    ui = ["ui", "--scenario", str(scenario), "--web-host", "127.0.0.1", "--web-port", str(port)]
    with fake_server() as server:
        command = [sys.executable, "-m", "loadtests", *ui, "--url", server.url]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: is_up(ask))
            assert "Locust" in ask("/")
            assert json.loads(ask("/swarm", b""))["success"]
            wait_until(lambda: {"clients", "single"} <= set(counts()))
            assert counts()["clients"] > 0
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)


def is_up(ask):
    with suppress(OSError):
        return bool(ask("/"))


def wait_until(holds):
    deadline_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
