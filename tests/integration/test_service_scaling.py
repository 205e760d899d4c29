"""Replicas come with the work and go with it."""

import threading
import time

import httpx
import pytest

from tests.integration.test_service_life import replica_pids
from tests.integration.test_service_models import Program

pytestmark = [pytest.mark.soak, pytest.mark.timeout(290)]

SCALING = {
    "min_replicas": 1,
    "max_replicas": 3,
    "look_back_period_s": 2,
    "metrics_interval_s": 0.5,
    "upscale_delay_s": 1,
    "downscale_delay_s": 5,
    "policy": {
        "policy_function": "ernie_ray.serving.autoscaling:scale_by_work",
        "policy_kwargs": {"drain_s": 0.5},
    },
}


@pytest.fixture
def program(tmp_path, tiny_model_dir):
    program = Program(tmp_path)
    too_late = threading.Timer(150, program.process.kill)
    too_late.start()
    try:
        program.deploy({"dir": str(tiny_model_dir), "name": "m"}, autoscaling_config=SCALING)
        too_late.cancel()
        yield program
    finally:
        too_late.cancel()
        program.end()


def wait_for(program, num_replicas, seconds):
    deadline_s = time.monotonic() + seconds
    while len(replica_pids(program.session_dir)) != num_replicas:
        assert time.monotonic() < deadline_s, replica_pids(program.session_dir)
        time.sleep(0.3)


def test_a_step_of_queued_work_brings_replicas_and_its_end_takes_them(program):
    wait_for(program, 1, 5)
    statuses, stop = [], threading.Event()

    def ask():
        with httpx.Client(base_url=program.url, timeout=60) as client:
            while not stop.is_set():
                body = {"texts": ["好书店房间服务差" * 3] * 1000}
                statuses.append(client.post("/v1/scores", json=body).status_code)

    clients = [threading.Thread(target=ask) for _ in range(6)]
    for one in clients:
        one.start()
    try:
        wait_for(program, 3, 90)
    finally:
        stop.set()
        for one in clients:
            one.join()
    wait_for(program, 1, 90)
    assert set(statuses) == {200}
