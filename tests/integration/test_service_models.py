"""Several models in one application, one of them on its own; and an update under load."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from ernie_ray.inference.predictor import Predictor
from tests.integration.service_load import Load, replica_infos, replica_pids
from tests.integration.service_process import environment, free_port, processes_of
from tests.tiny_models import export_tiny_classifier, export_tiny_student

pytestmark = pytest.mark.timeout(280)

PROGRAM = Path(__file__).with_name("serve_program.py")
TEXTS = ["房间很干净，推荐。", "服务不好", "good good", "a"]


class Program:
    """A running `serve_program.py`."""

    def __init__(self, session_dir):
        self.session_dir = session_dir
        ports = [free_port() for _ in range(4)]
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *map(str, ports)],
            env={**environment(session_dir), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def deploy(self, *models, own=None, **options):
        told = {"models": models, "own": own or {}, "options": options}
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("deployed"):
                self.metrics_url = f"http://127.0.0.1:{line.split()[1]}/metrics"
                return
        raise AssertionError("the program ended")

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(60)
        finally:
            self.process.stdout.close()
            for pid in processes_of(self.session_dir):  # each by its own pid
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def student_dir(tmp_path_factory):
    return export_tiny_student(tmp_path_factory.mktemp("student") / "model")


@pytest.fixture(scope="module")
def program(tmp_path_factory, tiny_model_dir, tiny_embedding_dir, student_dir):
    program = Program(tmp_path_factory.mktemp("models"))
    too_late = threading.Timer(150, program.process.kill)
    too_late.start()
    try:
        program.deploy(
            {"dir": str(tiny_model_dir), "name": "first", "layers": [1, -1]},
            {"dir": str(tiny_embedding_dir), "name": "second", "layers": [-1]},
            {"dir": str(student_dir), "name": "student"},
        )
        too_late.cancel()
        yield program
    finally:
        too_late.cancel()
        program.end()


def test_a_model_of_its_own_answers_as_in_the_ingress(program, tiny_model_dir, tiny_embedding_dir):
    assert len(replica_pids(program.session_dir, "TextModels")) == 1
    assert len(replica_pids(program.session_dir, "Model-second")) == 1
    for name, folder in (("first", tiny_model_dir), ("second", tiny_embedding_dir)):
        predictor = Predictor.from_dir(folder)
        body = {"texts": TEXTS, "model": name}
        reply = httpx.post(f"{program.url}/v1/vectors", json=body, timeout=30)
        assert reply.status_code == 200, reply.text
        expected = [one.vector for one in predictor.predict(TEXTS)]
        np.testing.assert_allclose(reply.json()["vectors"], expected, atol=0.02)
        assert reply.json()["fingerprint"] == predictor.fingerprint
    described = httpx.get(f"{program.url}/v1/models", timeout=30).json()["data"]
    assert [one["id"] for one in described] == ["first", "second", "student"]
    assert described[1]["task"] == {"family": "embedding"}


def test_a_reply_of_many_megabytes_comes_through_from_a_model_of_its_own(program):
    texts = [TEXTS[0] * 3] * 2000
    body = {"texts": texts, "model": "second", "pooling": "none"}
    reply = httpx.post(f"{program.url}/v1/vectors", json=body, timeout=60)
    assert reply.status_code == 200, reply.text[:500]
    vectors = reply.json()["vectors"]
    assert len(vectors) == len(texts)
    assert sum(len(tokens) * len(tokens[0]) for tokens in vectors) * 4 > 4 << 20  # float32


def test_a_student_is_served_as_an_encoder_is(program, student_dir):
    predictor = Predictor.from_dir(student_dir)
    expected = predictor.predict(TEXTS)
    body = {"texts": TEXTS, "model": "student"}
    with httpx.Client(base_url=program.url, timeout=30) as client:
        scores = client.post("/v1/scores", json=body).json()["scores"]
        vectors = client.post("/v1/vectors", json=body).json()["vectors"]
    assert [one["label"] for one in scores] == [one.result["label"] for one in expected]
    for one, other in zip(scores, expected, strict=True):
        assert one["scores"] == pytest.approx(other.result["scores"], abs=1e-4)
    np.testing.assert_allclose(vectors, [one.vector for one in expected], atol=1e-4)


def test_errors_and_options_cross_to_a_model_of_its_own(program):
    with httpx.Client(base_url=program.url, timeout=30) as client:
        long = client.post("/v1/vectors", json={"texts": "a " * 500, "model": "second"})
        assert (long.status_code, long.json()["error"]["type"]) == (413, "text_too_long")
        mixed = {"texts": ["a", "a " * 500, " "], "model": "second"}
        errors = client.post("/v1/vectors", json=mixed).json()["errors"]
        assert [one["type"] for one in errors] == ["text_too_long", "empty_text"]
        many = {"texts": ["好" * 30] * 500, "model": "second"}
        # The first limit in which the body arrives; on a busy machine that may take more than 1 ms.
        for limit_ms in (1, 2, 4, 8, 16):
            late = {"x-request-timeout-ms": str(limit_ms)}
            status = client.post("/v1/vectors", json=many, headers=late).status_code
            if status != 408:
                break
        assert status == 504
        tokens = {"texts": ["好房"], "pooling": "none", "normalize": False}
        for name in ("first", "second"):
            (vectors,) = client.post("/v1/vectors", json={**tokens, "model": name}).json()[
                "vectors"
            ]
            mean = {**tokens, "pooling": "mean", "layers": [-1], "model": name}
            (pooled,) = client.post("/v1/vectors", json=mean).json()["vectors"]
            np.testing.assert_allclose(np.mean(vectors, axis=0), pooled, atol=0.02)
        joined = {"texts": "a", "pooling": "cls", "layers": [1, -1]}
        assert client.post("/v1/vectors", json=joined).json()["dimensions"] == 64


def test_the_default_model_answers_while_the_other_has_no_replica(program):
    (victim,) = replica_pids(program.session_dir, "Model-second")
    os.kill(victim, signal.SIGKILL)
    with httpx.Client(base_url=program.url, timeout=60) as client:
        assert client.post("/v1/vectors", json={"texts": "a"}).status_code == 200
        deadline_s = time.monotonic() + 60
        while True:
            reply = client.post("/v1/vectors", json={"texts": "a", "model": "second"})
            if reply.status_code == 200:
                break
            assert reply.status_code == 503, reply.text
            assert "retry-after" in reply.headers
            assert time.monotonic() < deadline_s
            time.sleep(0.2)


def test_an_update_to_another_model_drops_no_request(program, tmp_path, tiny_model_dir):
    other = export_tiny_classifier(tmp_path / "other", name="other")
    old, new = (Predictor.from_dir(path).fingerprint for path in (tiny_model_dir, other))
    assert old != new
    halves = {"num_replicas": 3, "ray_actor_options": {"num_cpus": 1, "num_gpus": 0.5}}
    with Load(program.url).running() as load:
        time.sleep(1)
        program.deploy({"dir": str(other), "name": "first"}, **halves)
        deadline_s = time.monotonic() + 60
        while True:
            reply = httpx.post(f"{program.url}/v1/vectors", json={"texts": "a"}, timeout=30).json()
            if reply["fingerprint"] == new:
                break
            assert time.monotonic() < deadline_s
            time.sleep(0.2)
        time.sleep(3)
    assert load.failures == []
    assert load.outcomes[200] > 20


def test_replicas_of_half_a_gpu_see_the_right_devices(program):
    """After the update: three replicas on two logical GPUs."""
    found = {}
    deadline_s = time.monotonic() + 60
    while len(found) < 3:
        # The replica from before the update asked for no GPU, and may still answer.
        found |= {pid: gpus for pid, gpus in replica_infos(program.url).items() if gpus}
        assert time.monotonic() < deadline_s, found
    assert sorted(found.values()) == ["0", "0", "1"]


def test_ray_exports_every_number_of_the_dashboard(program):
    dashboard = Path(__file__).parents[2] / "serve_apps" / "grafana_dashboard.json"
    wanted = set(re.findall(r"ray_ernie_ray_\w+", dashboard.read_text(encoding="utf-8")))
    assert len(wanted) > 10
    with httpx.Client(base_url=program.url, timeout=30) as client:
        client.post("/v1/vectors", json={"texts": TEXTS})
        client.post("/v1/vectors", content=b"{")
    deadline_s = time.monotonic() + 60
    while True:
        text = httpx.get(program.metrics_url, timeout=30).text
        missing = {name for name in wanted if f"\n{name}{{" not in text}
        if not missing:
            break
        found = sorted(set(re.findall(r"ray_ernie_ray_\w+", text)))
        assert time.monotonic() < deadline_s, (missing, found)
        time.sleep(1)
