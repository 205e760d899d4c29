"""Long runs on a real service: memory over random lengths, and five times what it can do.

``ERNIE_RAY_SOAK_S`` shortens the first one.
"""

import asyncio
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from ernie_ray.jobs.export import export_pretrained
from ernie_ray.jobs.storage import Storage
from tests.integration.service_load import replica_infos, replica_pids
from tests.integration.service_process import running
from tests.integration.test_service_models import Program
from tests.tiny_models import CHARACTERS, tiny_encoder

SOAK_S = float(os.environ.get("ERNIE_RAY_SOAK_S", "1200"))

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SOAK_S + 400)]

MAX_GROWTH = 0.05


def resident_bytes(pid):
    statm = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ask_at_random(url, ends_s, seed, outcomes):
    rng = random.Random(seed)
    with httpx.Client(base_url=url, timeout=60) as client:
        while time.monotonic() < ends_s:
            num_texts = rng.choice((1, 1, 1, 2, 5, 16, 64))
            texts = [
                "".join(rng.choices(CHARACTERS, k=rng.randint(1, 30))) for _ in range(num_texts)
            ]
            path = rng.choice(("/v1/vectors", "/v1/scores", "/v1/infer"))
            outcomes[client.post(path, json={"texts": texts}).status_code] += 1


def test_random_lengths_leave_the_memory_of_each_replica_flat(tiny_model_dir, tmp_path):
    outcomes = Counter()
    with running(tiny_model_dir, tmp_path, "--num-replicas", "2", "--num-cpus", "1") as service:
        replicas = replica_pids(tmp_path)
        assert len(replicas) == 2
        ends_s = time.monotonic() + SOAK_S
        clients = [
            threading.Thread(target=ask_at_random, args=(service.url, ends_s, seed, outcomes))
            for seed in range(4)
        ]
        for client in clients:
            client.start()
        time.sleep(SOAK_S / 4)  # allocators, kernels for shapes, metrics of every label
        before = {pid: resident_bytes(pid) for pid in replicas}
        for client in clients:
            client.join()
        growth = {pid: resident_bytes(pid) / before[pid] - 1 for pid in replicas}
        assert replica_pids(tmp_path) == replicas
    assert set(outcomes) == {200}
    assert max(growth.values()) < MAX_GROWTH, growth


MAX_QUEUE_TOKENS = 20_000
TIMEOUT_MS = 10_000
TEXTS = ["好书店房间服务差" * 3 + "的一是不"] * 64  # 30 tokens each: about one batch
OVERLOAD, OVERLOAD_S, MEASURED_S = 5, 60, 5


@dataclass(frozen=True)
class Asked:
    """One request of the generator."""

    status: int
    began_s: float
    seconds: float


async def ask(client):
    began_s = time.monotonic()
    headers = {"x-request-timeout-ms": str(TIMEOUT_MS)}
    reply = await client.post("/v1/vectors", json={"texts": TEXTS}, headers=headers)
    return Asked(reply.status_code, began_s, time.monotonic() - began_s)


def client_of(url):
    return httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=None))


async def closed_loop(url, seconds, num_clients=4):
    """Requests a second that clients get who ask one after another."""
    ends_s = time.monotonic() + seconds
    async with client_of(url) as client:

        async def ask_on():
            found = []
            while time.monotonic() < ends_s:
                found.append(await ask(client))
            return found

        found = await asyncio.gather(*(ask_on() for _ in range(num_clients)))
    asked = [one for part in found for one in part]
    assert {one.status for one in asked} == {200}
    return len(asked) / seconds


async def open_loop(url, per_s, seconds):
    """Requests that come at their times, whatever the service does."""
    began_s = time.monotonic()
    async with client_of(url) as client:
        tasks = []
        for i in range(int(per_s * seconds)):
            await asyncio.sleep(max(0.0, began_s + i / per_s - time.monotonic()))
            tasks.append(asyncio.create_task(ask(client)))
        return await asyncio.gather(*tasks)


def test_five_times_the_capacity_is_answered_and_left_behind(tmp_path):
    """24 layers, so that the engine is what limits; accepted requests wait for one full queue."""
    model_dir = tmp_path / "deep"
    encoder = tiny_encoder(num_layers=24)
    export_pretrained(encoder, model_dir, "deep", max_tokens=32, storage=Storage())
    program = Program(tmp_path / "service")
    try:
        batching = {"max_queue_tokens": MAX_QUEUE_TOKENS}
        program.deploy({"dir": str(model_dir), "name": "deep", "batching": batching})
        asyncio.run(closed_loop(program.url, MEASURED_S))
        capacity_per_s = asyncio.run(closed_loop(program.url, MEASURED_S))
        (before,) = replica_infos(program.url)
        asked = asyncio.run(open_loop(program.url, OVERLOAD * capacity_per_s, OVERLOAD_S))
        time.sleep(5)
        again_per_s = asyncio.run(closed_loop(program.url, MEASURED_S))
        (after,) = replica_infos(program.url)
    finally:
        program.end()
    outcomes = Counter(one.status for one in asked)
    assert set(outcomes) <= {200, 429, 504}, outcomes
    assert outcomes[429] > outcomes[200] > 0.5 * capacity_per_s * OVERLOAD_S, outcomes
    drain_s = MAX_QUEUE_TOKENS / (capacity_per_s * len(TEXTS) * 30)
    accepted_s = [one.seconds for one in asked if one.status == 200]
    assert np.percentile(accepted_s, 99) < 3 * drain_s + 1, (np.percentile(accepted_s, 99), drain_s)
    assert again_per_s > 0.8 * capacity_per_s
    assert before == after  # the same process
