"""`ernie-ray serve` as a user runs it: a process of its own, real Ray Serve, HTTP and gRPC."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from uuid import uuid4

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ernie_ray.inference.predictor import Predictor
from ernie_ray.serving.proto import text_service_pb2 as pb
from ernie_ray.serving.proto import text_service_pb2_grpc as pb_grpc
from tests.integration.service_load import TEXT, Load, replica_infos, replica_pids
from tests.integration.service_process import environment, free_port, processes_of, running
from tests.integration.test_hostile import BROKEN, HEADERS, PATHS, head, hostile_bodies, raw

pytestmark = pytest.mark.timeout(240)

READY_AGAIN_S = 30
TEXTS = ["房间很干净，推荐。", "服务不好", "good good", "a"]


@pytest.fixture(scope="module")
def service(tiny_model_dir, tmp_path_factory):
    grpc_port = free_port()
    options = ("--num-replicas", "2", "--num-cpus", "1", "--grpc-port", str(grpc_port))
    session_dir = tmp_path_factory.mktemp("service")
    with running(tiny_model_dir, session_dir, *options, "--layer", "-1") as service:
        service.grpc_target = f"127.0.0.1:{grpc_port}"
        yield service
        stop_cleanly(service, signal.SIGINT)


def stop_cleanly(service, number):
    """End it by a signal; nothing of it may be left."""
    assert service.stop(number) == 0
    deadline_s = time.monotonic() + 10
    while (left := processes_of(service.session_dir)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert left == {}
    with socket.socket() as probe:  # the port is free again
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", service.port))


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def predictor(tiny_model_dir):
    return Predictor.from_dir(tiny_model_dir)


def test_vectors_and_scores_are_those_of_the_predictor(client, predictor):
    body = client.post("/v1/infer", json={"texts": TEXTS}).json()
    expected = predictor.predict(TEXTS)
    vectors = np.array(body["vectors"], dtype=np.float32)
    np.testing.assert_allclose(vectors, [p.vector for p in expected], atol=0.02)
    assert [one["label"] for one in body["scores"]] == [p.result["label"] for p in expected]
    assert body["fingerprint"] == predictor.fingerprint
    assert (body["errors"], body["truncated"]) == ([], [])


def test_every_route_answers(client, predictor):
    vectors = client.post("/v1/vectors", json={"texts": TEXTS}).json()["vectors"]
    scores = client.post("/v1/scores", json={"texts": TEXTS}).json()["scores"]
    assert len(vectors) == len(scores) == len(TEXTS)
    ask = {"input": TEXTS, "model": predictor.manifest.name, "encoding_format": "base64"}
    data = client.post("/v1/embeddings", json=ask).json()["data"]
    coded = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in data]
    np.testing.assert_allclose(coded, vectors, atol=0.02)
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["fingerprint"]) == (predictor.manifest.name, predictor.fingerprint)
    assert client.get("/health").json() == {"status": "alive"}
    assert client.get("/ready").json()["status"] == "ready"


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v1/vectors", b"{", 400),
        ("/v1/vectors", b'{"texts": [""]}', 400),
        ("/v1/embeddings", b'{"input": "a", "model": "gpt"}', 404),
        ("/v1/elsewhere", b"{}", 404),
        ("/ready", b"{}", 405),
        ("/v1/vectors", b'{"texts": "' + b"a " * 2000 + b'"}', 413),
        ("/v1/vectors", b"a" * (5 << 20), 413),
    ],
)
def test_bad_requests_are_json_errors(client, path, content, status):
    response = client.post(path, content=content)
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_a_refused_request_is_a_line_of_json_in_serves_log(client):
    request_id = uuid4().hex
    refused = client.post("/v1/vectors", content=b"{", headers={"x-request-id": request_id})
    assert refused.headers["x-request-id"] == request_id
    logs = Path(tempfile.gettempdir()).glob("ray/session_2*/logs/serve/replica_ernie-ray_*.log")
    fresh = [log for log in logs if time.time() - log.stat().st_mtime < 60]
    lines = [line for log in fresh for line in log.read_text("utf-8").splitlines()]
    # Serve's own line of the same request, which may be there as well, is no JSON.
    (found,) = (line for line in lines if f'"request_id":"{request_id}"' in line)
    told = json.loads(found[found.index("{") :])
    assert told["request_id"] == request_id
    assert (told["route"], told["status"]) == ("/v1/vectors", 400)


def test_hostile_requests_hurt_neither_proxy_nor_replica(service, client):
    """Some of what `test_hostile.py` sends to the bare application, through all of Ray Serve."""
    asked = [(path, body, {}) for path, body in islice(hostile_bodies(), 0, None, 8)]
    asked += [("/v1/vectors", b'{"texts": "a"}', headers) for headers in HEADERS]
    asked += [(path, b"{}", {}) for path in PATHS]
    assert len(asked) > 200
    for path, body, headers in asked:
        reply = client.post(path, content=body, headers=headers)
        assert reply.status_code < 500, (path, body[:100], headers, reply.text)
    for sent in BROKEN:
        assert b" 500 " not in raw(service.url, sent).split(b"\r\n")[0], sent
    raw(service.url, head(length=100) + b"{", half_close=True)
    assert client.get("/health").status_code == 200


def test_many_clients_get_their_own_answers(service, client):
    texts = ["好" * (1 + i % 30) for i in range(320)]
    alone = {text: vector_of(client, text) for text in sorted(set(texts))}

    def ask(part):
        with httpx.Client(base_url=service.url, timeout=60) as own:
            return [vector_of(own, text) for text in part]

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, [texts[i::32] for i in range(32)]))
    for i, part in enumerate(answers):
        for text, vector in zip(texts[i::32], part, strict=True):
            np.testing.assert_allclose(vector, alone[text], atol=0.02)


def vector_of(client, text):
    response = client.post("/v1/vectors", json={"texts": text})
    assert response.status_code == 200, response.text
    return response.json()["vectors"][0]


def test_a_port_in_use_is_one_clear_line(service, tiny_model_dir, tmp_path):
    second = serve_once(tiny_model_dir, tmp_path, "--port", str(service.port))
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{service.port}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_wrong_folder_is_one_clear_line(tmp_path):
    wrong = serve_once(tmp_path / "nothing", tmp_path)
    assert wrong.returncode == 1
    assert "no such file or folder" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_a_service_that_joins_a_cluster_leaves_the_one_that_runs_there_alone(
    service, tiny_model_dir, tmp_path
):
    (pid,) = (pid for pid, line in processes_of(service.session_dir).items() if b"/raylet " in line)
    line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    (address,) = (part.partition("=")[2] for part in line if part.startswith("--gcs-address="))
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    token = [v.split("=", 1) for v in variables if v.startswith("RAY_AUTH")]
    options = ("--address", address, "--port", str(service.port))
    second = serve_once(tiny_model_dir, tmp_path, *options, variables=token)
    assert second.returncode == 1
    assert "runs an application 'ernie-ray' already" in second.stderr
    assert httpx.get(f"{service.url}/ready", timeout=30).status_code == 200


def serve_once(model_dir, session_dir, *options, variables=()):
    return subprocess.run(
        [sys.executable, "-m", "ernie_ray", "serve", str(model_dir), *options],
        env=environment(session_dir) | dict(variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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


def ask_much(url):
    body = {"texts": ["好书店房间服务差" * 3] * 2048}
    return httpx.post(f"{url}/v1/infer", json=body, timeout=60).status_code


def test_sigterm_lets_what_is_inside_finish_and_leaves_nothing(service, tiny_model_dir, tmp_path):
    """Beside another service on this machine, whose ports it must not need."""
    with running(tiny_model_dir, tmp_path, "--name", "mine") as mine:
        answer = httpx.post(f"{mine.url}/v1/vectors", json={"texts": "a"}, timeout=30)
        assert answer.json()["model"] == "mine"
        assert any(b"haproxy" in line for line in processes_of(tmp_path).values())
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask_much, mine.url) for _ in range(4)]
            while not any(one.done() for one in asked):
                time.sleep(0.005)
            stop_cleanly(mine, signal.SIGTERM)
            assert "Error" not in mine.printed
            assert [one.result() for one in asked] == [200] * 4
    assert httpx.get(f"{service.url}/ready", timeout=30).status_code == 200
