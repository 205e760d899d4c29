"""Replicas of a real service under steady load: killed, updated, in deployments of their own."""

import os
import signal
import time

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ernie_ray.serving.proto import text_service_pb2 as pb
from ernie_ray.serving.proto import text_service_pb2_grpc as pb_grpc
from tests.integration.service_load import TEXT, Load
from tests.integration.service_process import free_port, processes_of, running

pytestmark = pytest.mark.timeout(280)


def replica_pids(session_dir, deployment="TextModels"):
    name = f"ray::ServeReplica:ernie-ray:{deployment}".encode()
    return {pid for pid, line in processes_of(session_dir).items() if line.startswith(name)}


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
        deadline_s = killed_s + 60
        while len(replica_pids(service.session_dir) - {victim}) < 2:
            assert time.monotonic() < deadline_s, "no second replica came back"
            time.sleep(0.2)
        back_s = time.monotonic() - killed_s
        time.sleep(3)
    assert load.outcomes[200] > answered + 20
    # At most what was inside the replica when it died; HAProxy replays what it can.
    assert len(load.failures) <= load.num_clients, load.outcomes
    assert all(at_s - killed_s < 5 for at_s, _ in load.failures)
    assert back_s < 60
