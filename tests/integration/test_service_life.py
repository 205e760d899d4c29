"""Replicas of a real service under steady load: killed, updated, in deployments of their own."""

import os
import re
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ernie_ray.serving.proto import text_service_pb2 as pb
from ernie_ray.serving.proto import text_service_pb2_grpc as pb_grpc
from tests.integration.service_process import free_port, processes_of, running

pytestmark = pytest.mark.timeout(280)

TEXT = "房间很干净，推荐。"
READY_AGAIN_S = 30


class Load:
    """Clients that ask one after another and note every outcome."""

    def __init__(self, url, num_clients=4):
        self.url, self.num_clients = url, num_clients
        self.outcomes, self.failures = Counter(), []
        self._stop = threading.Event()

    def _ask_until_stopped(self):
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    reply = client.post("/v1/vectors", json={"texts": TEXT})
                    outcome = reply.status_code
                except httpx.TransportError as error:
                    outcome = type(error).__name__
                self.outcomes[outcome] += 1
                if outcome != 200:
                    self.failures.append((time.monotonic(), outcome))

    @contextmanager
    def running(self):
        with ThreadPoolExecutor(self.num_clients) as pool:
            asked = [pool.submit(self._ask_until_stopped) for _ in range(self.num_clients)]
            try:
                yield self
            finally:
                self._stop.set()
        for one in asked:
            one.result()


def replica_pids(session_dir, deployment="TextModels"):
    name = f"ray::ServeReplica:ernie-ray:{deployment}".encode()
    return {pid for pid, line in processes_of(session_dir).items() if line.startswith(name)}


def replica_infos(url):
    """Pid and visible GPUs of the replica that answers this request, and thus is ready."""
    text = httpx.get(f"{url}/metrics", timeout=30).text
    return dict(re.findall(r'ernie_ray_replica_info\{pid="(\d+)",gpus="([^"]*)"\}', text))


@pytest.fixture(scope="module")
def service(tiny_model_dir, tmp_path_factory):
    session_dir = tmp_path_factory.mktemp("life")
    grpc_port = free_port()
    options = ("--num-replicas", "2", "--num-cpus", "1", "--grpc-port", str(grpc_port))
    with running(tiny_model_dir, session_dir, *options) as service:
        service.grpc_target = f"127.0.0.1:{grpc_port}"
        yield service


def test_grpc_gives_the_numbers_of_http_beside_health_and_reflection(service):
    texts = [TEXT, "服务不好", "a"]
    http = httpx.post(f"{service.url}/v1/infer", json={"texts": texts}, timeout=30).json()
    with grpc.insecure_channel(service.grpc_target) as channel:
        stub = pb_grpc.TextServiceStub(channel)
        asked = [pb.Text(text=text) for text in texts]
        ask = pb.InferRequest(texts=asked, want_vectors=True, want_scores=True)
        reply = stub.Infer(ask, timeout=30)
        for answer, vector, score in zip(
            reply.answers, http["vectors"], http["scores"], strict=True
        ):
            np.testing.assert_allclose(answer.vector.values, vector, atol=0.02)
            assert answer.result["label"] == score["label"]
        with pytest.raises(grpc.RpcError) as caught:
            stub.Infer(pb.InferRequest(texts=asked, want_vectors=True, model="gpt"), timeout=30)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        stream = stub.InferStream(iter([ask] * 5), timeout=30)
        assert [len(one.answers) for one in stream] == [3] * 5
        health = health_pb2_grpc.HealthStub(channel)
        checked = health.Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        (found,) = reflection.ServerReflectionInfo(iter([question]), timeout=30)
        names = {one.name for one in found.list_services_response.service}
        assert "ernie_ray.v1.TextService" in names


def test_the_death_of_one_replica_never_stops_the_service(service):
    before = replica_pids(service.session_dir)
    assert len(before) == 2
    with Load(service.url).running() as load:
        time.sleep(2)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        killed_s = time.monotonic()
        answered = load.outcomes[200]
        ready = set()
        while len(ready) < 2:  # the survivor and the new one both answer
            with suppress(httpx.TransportError):
                ready |= {int(pid) for pid in replica_infos(service.url)} - {victim}
            assert time.monotonic() - killed_s < READY_AGAIN_S, "no second replica came back"
            time.sleep(0.1)
        time.sleep(2)
    assert load.outcomes[200] > answered + 20
    # At most what was inside the replica when it died; HAProxy replays what it can.
    assert len(load.failures) <= load.num_clients, load.outcomes
    assert all(at_s - killed_s < 5 for at_s, _ in load.failures)
    # What a client may send again: HAProxy's own 500, or a connection that broke.
    assert {outcome for _, outcome in load.failures} <= {500, "RemoteProtocolError", "ReadError"}
