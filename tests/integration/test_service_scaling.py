"""Replicas come with the work and go with it."""

import asyncio
import threading
import time

import httpx
import pytest

from tests.integration.service_load import replica_pids
from tests.integration.test_service_models import Program

pytestmark = [pytest.mark.soak, pytest.mark.timeout(400)]

BY_WORK = {
    "max_replicas": 3,
    "look_back_period_s": 2,
    "metrics_interval_s": 0.5,
    "upscale_delay_s": 1,
    "downscale_delay_s": 5,
    "policy": {
        "policy_function": "ernie_ray.serving.autoscaling:scale_by_work",
        "policy_kwargs": {"drain_s": 0.5, "utilisation": 0.9},
    },
}
SMALL = {"num_cpus": 0.5}


@pytest.fixture(scope="module")
def program(tmp_path_factory, tiny_model_dir, tiny_embedding_dir):
    program = Program(tmp_path_factory.mktemp("scaling"))
    too_late = threading.Timer(150, program.process.kill)
    too_late.start()
    idle = {**BY_WORK, "min_replicas": 0, "downscale_to_zero_delay_s": 3}
    try:
        program.deploy(
            {"dir": str(tiny_model_dir), "name": "hot"},
            {"dir": str(tiny_embedding_dir), "name": "rare"},
            own={"rare": {"autoscaling_config": idle, "ray_actor_options": SMALL}},
            autoscaling_config={**BY_WORK, "min_replicas": 1},
            ray_actor_options=SMALL,
        )
        too_late.cancel()
        yield program
    finally:
        too_late.cancel()
        program.end()


def num_replicas(program, deployment="TextModels"):
    return len(replica_pids(program.session_dir, deployment))


def wait_for(program, count, seconds, deployment="TextModels"):
    deadline_s = time.monotonic() + seconds
    while num_replicas(program, deployment) != count:
        assert time.monotonic() < deadline_s, num_replicas(program, deployment)
        time.sleep(0.3)


async def ask_without_end(url, body, num_clients, until):
    """Statuses of clients that ask one after another until ``until`` is set."""
    statuses = []
    limits = httpx.Limits(max_connections=num_clients)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

        async def ask():
            while not until.is_set():
                statuses.append((await client.post("/v1/scores", json=body)).status_code)

        await asyncio.gather(*(ask() for _ in range(num_clients)))
    return statuses


class Asking:
    """Clients that ask in a thread while the block runs."""

    def __init__(self, url, body, num_clients):
        self._stop = threading.Event()
        self.statuses = []
        self._thread = threading.Thread(target=self._run, args=(url, body, num_clients))

    def _run(self, *args):
        self.statuses = asyncio.run(ask_without_end(*args, self._stop))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def test_many_requests_of_little_work_need_no_second_replica(program):
    """Forty at a time, twenty times what Serve itself would scale at; but hardly any tokens."""
    with Asking(program.url, {"texts": "好书"}, 40) as many:
        seen = set()
        for _ in range(20):
            time.sleep(0.5)
            seen.add(num_replicas(program))
    assert seen == {1}
    assert len(many.statuses) > 500
    assert set(many.statuses) == {200}


def test_few_requests_of_much_work_bring_replicas_and_their_end_takes_them(program):
    wait_for(program, 1, 30)
    with Asking(program.url, {"texts": ["好书店房间服务差" * 3] * 1000}, 6) as few:
        wait_for(program, 3, 90)
    wait_for(program, 1, 90)
    assert set(few.statuses) == {200}


def test_an_idle_model_has_no_replica_and_a_request_brings_one(program):
    wait_for(program, 0, 60, "Model-rare")
    for _ in range(2):
        reply = httpx.post(
            f"{program.url}/v1/vectors", json={"texts": "a", "model": "rare"}, timeout=60
        )
        assert reply.status_code == 200, reply.text
        assert num_replicas(program, "Model-rare") == 1
        wait_for(program, 0, 60, "Model-rare")
