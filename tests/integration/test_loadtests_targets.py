"""Targets that need no installation, as processes of their own: our service, one job one batch."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ernie_ray.inference.predictor import Predictor
from loadtests.equality import least_cosine, vectors_of
from loadtests.fleet import Address, Fleet
from loadtests.processes import behind_port, name_of, tree
from loadtests.scenario import Lane, Phase, Scenario
from loadtests.targets import make_target
from loadtests.targets.target import Start

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
TEXTS = ["房间很干净，推荐。", "服务不好", "good good", "a"]
SCENARIO = Scenario(
    name="targets",
    description="-",
    texts="chinese",
    lanes=(
        Lane(name="clients", arrivals="closed", text_characters=20),
        Lane(name="single", text_characters=20),
    ),
    phases=(Phase(levels={"clients": 4, "single": 10}, seconds=2),),
)


@pytest.fixture(scope="module")
def our_service(tiny_embedding_dir):
    """Two replicas behind HTTP and gRPC, started once for many tests."""
    with pytest.MonkeyPatch.context() as patch:
        # A Ray of its own, not with the settings of these tests.
        for name in [name for name in os.environ if name.startswith(("RAY_AUTH", "RAY_ADDR"))]:
            patch.delenv(name)
        with target("ours-grpc", tiny_embedding_dir, num_replicas=2).started() as running:
            yield running
            pids = running.pids()
    assert not [pid for pid in pids if name_of(pid)]


def target(name, model_dir, **options):
    return make_target(name, Start(weights=model_dir, model_dir=lambda: model_dir, **options))


def measured(running, scenario=SCENARIO):
    (step,) = scenario.steps()
    kill = running.kill_replica
    with Fleet(running.address, scenario, processes=1) as fleet:
        return fleet.run(step, pids=running.pids, seed="test", kill_replica=kill)


@pytest.mark.parametrize("name", ["one-job-one-batch", "one-job-one-batch-http"])
def test_one_job_one_batch_gives_our_vectors_over_its_protocol(tiny_embedding_dir, name):
    expected = np.array([p.vector for p in Predictor.from_dir(tiny_embedding_dir).predict(TEXTS)])
    with target(name, tiny_embedding_dir).started() as running:
        assert least_cosine(vectors_of(running.address, TEXTS), expected) > 0.999
        result = measured(running)
        pids = running.pids()
    assert all(lane.qps > 5 and lane.errors == {} for lane in result.lanes)
    assert result.server_cpu_s > 0
    assert not [pid for pid in pids if name_of(pid)]


def test_our_service_is_measured_over_grpc_and_http_with_ray_and_haproxy(our_service):
    pids = our_service.pids()
    names = " ".join(name_of(pid) for pid in pids)
    port = int(our_service.address.url.rpartition(":")[2]) - 1
    over_http = replace(our_service, address=Address(f"http://127.0.0.1:{port}", "vectors"))
    one, other = (vectors_of(running.address, TEXTS) for running in (our_service, over_http))
    lanes = [lane for running in (our_service, over_http) for lane in measured(running).lanes]
    assert one.shape == (4, 32)
    assert least_cosine(one, other) > 0.999
    assert [lane.errors for lane in lanes] == [{}] * 4
    assert all(lane.qps > 5 for lane in lanes)
    assert all(part in names for part in ("haproxy", "raylet", "ServeReplica"))
    # What a URL alone tells: the same processes, found through the port that HAProxy listens on.
    by_port = behind_port(port)
    assert len(by_port & pids) >= 0.8 * len(pids)
    assert os.getpid() not in by_port


def test_a_killed_replica_is_replaced_while_the_other_answers(our_service):
    phase = Phase(levels={"single": 20}, seconds=10, kill_replica_at_s=2)
    before = replicas_of(our_service)
    result = measured(our_service, SCENARIO.model_copy(update={"phases": (phase,)}))
    assert len(before) == 2
    assert len(before & replicas_of(our_service)) == 1
    (lane,) = result.lanes
    assert lane.sent > 100
    assert lane.error_fraction < 0.5
    assert sum(second.qps for second in lane.timeline[-4:]) > 40


def replicas_of(running):
    return {pid for pid in running.pids() if "ServeReplica" in name_of(pid)}


def test_a_target_that_does_not_start_is_reported_with_what_it_printed(tmp_path):
    from loadtests.errors import TargetUnavailableError

    with pytest.raises(TargetUnavailableError, match=r"manifest\.json"):  # noqa: SIM117
        with target("one-job-one-batch", tmp_path).started():
            pass


def test_commands_of_the_readme_run_as_they_stand(tiny_embedding_dir, tmp_path):
    """With a shorter scenario, this model, and no peer to install."""
    readme = (ROOT / "loadtests" / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```console\n(.*?)```", readme, re.S).group(1)
    commands = {line.split()[3]: line.split()[3:] for line in block.splitlines()}
    assert list(commands) == ["list", "run", "compare", "screenshot", "ui"]
    assert "peers" in loadtests(*commands["list"]).stdout
    scenario = tmp_path / "mine.toml"
    mine = re.search(r"```toml\n(.*?)```", readme, re.S).group(1)
    scenario.write_text(mine.replace("seconds = 10", "seconds = 2").replace("200", "20000"))
    with target("one-job-one-batch-http", tiny_embedding_dir).started() as running:
        url = running.address.url + "/embed"
        local = {"http://127.0.0.1:8000": url, "ours,infinity": url}
        local |= {"peers": str(scenario), "steady": str(scenario), "15": "3"}
        local["loadtests-report"] = str(tmp_path / "report")
        local["loadtests-report.html"] = str(tmp_path / "report.html")
        local["docs/load-test-report.png"] = str(tmp_path / "report.png")

        def here(verb):
            return [local.get(word, word) for word in commands[verb]]

        assert " requests/s" in loadtests(*here("run")).stdout
        scenario.write_text(scenario.read_text().replace('"ours"', f'"{url}"'))
        done = loadtests(*here("compare"), "--rounds", "1")
        assert done.returncode == 0, done.stderr[-2000:]
        assert (tmp_path / "report.html").stat().st_size > 10_000
        done = loadtests(*here("screenshot"))
        assert (tmp_path / "report.png").is_file() or "no browser found" in done.stderr
        done = loadtests(*here("ui"), "--headless")
        assert "single" in done.stderr + done.stdout


def loadtests(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "loadtests", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


def test_a_tree_of_processes_holds_children_of_children():
    script = "import subprocess,sys,time; p=subprocess.Popen(['sleep','60']); print(p.pid,flush=1)"
    parent = subprocess.Popen(
        [sys.executable, "-c", f"{script}; time.sleep(60)"], stdout=subprocess.PIPE, text=True
    )
    child = int(parent.stdout.readline())
    try:
        assert {parent.pid, child} <= tree([parent.pid])
        assert os.getpid() not in tree([parent.pid])
    finally:
        os.kill(child, signal.SIGKILL)
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + 5
    while child in tree([child]) and name_of(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not name_of(child)
