"""The gRPC methods behind a real grpc.aio server, asked by the stub made from the proto."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.serving.app import TextService
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.grpc_dialect import SERVICE, GrpcMethods
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.proto import text_service_pb2 as pb
from ernie_ray.serving.proto import text_service_pb2_grpc as pb_grpc
from ernie_ray.serving.served_model import ServedModel
from tests.fake_text_model import FakeTextModel, manifest

ROOT = Path(__file__).parents[3]


def with_server(ask, gate=None, max_queue_tokens=80):
    """Run ``ask(stub, channel, app)`` against a server on a free port."""

    async def run():
        batching = BatchLimits(max_batch_tokens=64, max_queue_tokens=max_queue_tokens)
        models = [
            ServedModel(LocalRunner(FakeTextModel(manifest(), gate=gate), batching)),
            ServedModel(LocalRunner(FakeTextModel(manifest(name="plain", has_head=False)))),
        ]
        app = TextService(Catalog(models))
        methods = GrpcMethods(lambda: app)
        server = grpc.aio.server()
        pb_grpc.add_TextServiceServicer_to_server(methods, server)
        health_pb2_grpc.add_HealthServicer_to_server(methods, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await ask(pb_grpc.TextServiceStub(channel), channel, app)
        finally:  # a server left behind would hold the test run at its end
            await server.stop(0)
            await app.close()

    asyncio.run(run())


def request(*texts, **options):
    ask = {"want_vectors": True, "want_scores": True, **options}
    return pb.InferRequest(texts=[pb.Text(text=text) for text in texts], **ask)


def test_grpc_and_http_give_the_same_numbers():
    async def ask(stub, channel, app):
        reply = await stub.Infer(request("a", "long text", " "))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            body = {"texts": ["a", "long text", " "]}
            http = (await client.post("/v1/infer", json=body)).json()
        for i in (0, 1):
            assert list(reply.answers[i].vector.values) == http["vectors"][i]
            got = MessageToDict(reply.answers[i].result)
            assert got["label"] == http["scores"][i]["label"]
            assert got["scores"] == pytest.approx(http["scores"][i]["scores"])
        assert reply.answers[2].error.type == http["errors"][0]["type"] == "empty_text"
        assert (reply.model, reply.fingerprint) == (http["model"], http["fingerprint"])
        assert reply.num_tokens == http["usage"]["num_tokens"]

    with_server(ask)


def test_pairs_token_ids_and_vector_options():
    async def ask(stub, channel, app):
        pair = pb.Text(text="ab", text_pair="cd")
        one = pb.InferRequest(texts=[pair], want_vectors=True, dimensions=2, normalize=True)
        values = (await stub.Infer(one)).answers[0].vector.values
        assert len(values) == 2
        assert np.linalg.norm(values) == pytest.approx(1, abs=1e-6)
        ids = pb.InferRequest(token_ids=[pb.TokenIds(ids=[1, 97, 2])], want_vectors=True)
        assert (await stub.Infer(ids)).answers[0].vector.values[0] == 3

    with_server(ask)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (pb.InferRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (request("a", want_vectors=False, want_scores=False), grpc.StatusCode.INVALID_ARGUMENT),
        (request(""), grpc.StatusCode.INVALID_ARGUMENT),
        (request("a" * 30), grpc.StatusCode.INVALID_ARGUMENT),
        (request("a", model="gpt"), grpc.StatusCode.NOT_FOUND),
        (request("a", model="plain"), grpc.StatusCode.FAILED_PRECONDITION),
        (request("a", pooling="none"), grpc.StatusCode.FAILED_PRECONDITION),
        (request("N"), grpc.StatusCode.INTERNAL),
    ],
)
def test_errors_are_statuses(wrong, code):
    async def ask(stub, channel, app):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Infer(wrong)
        assert caught.value.code() == code
        assert caught.value.details()

    with_server(ask)


def test_calls_are_counted_and_logged_as_those_of_http_are(caplog):
    async def ask(stub, channel, app):
        metadata = [("x-request-id", "r-7")]
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Infer(request("N"), metadata=metadata)
        await stub.Infer(request("a"))
        text = app.options.meters.text()
        assert 'ernie_ray_requests_total{route="grpc",status="200"} 1' in text
        assert 'ernie_ray_rejections_total{route="grpc",reason="inference_failed"} 1' in text
        assert 'ernie_ray_stage_seconds_count{model="fake",stage="serialise"} 1' in text

    with caplog.at_level(logging.INFO, logger="ernie_ray.requests"):
        with_server(ask)
    (record,) = caplog.records
    line = json.loads(record.message)
    assert (line["request_id"], line["route"], line["status"]) == ("r-7", "grpc", 500)


def test_a_stream_answers_each_request_and_goes_on_after_errors():
    async def ask(stub, channel, app):
        async def requests():
            for i in range(50):
                yield request("N" if i == 7 else "a" * (1 + i % 9), id=str(i))

        replies = {reply.id: reply async for reply in stub.InferStream(requests())}
        assert len(replies) == 50
        assert replies["7"].error.type == "inference_failed"
        for i in set(range(50)) - {7}:
            assert replies[str(i)].answers[0].vector.values[0] == 3 + i % 9

    with_server(ask, max_queue_tokens=1000)  # room for all that may wait at once


def test_a_stream_answers_before_the_next_request_comes():
    async def ask(stub, channel, app):
        stream = stub.InferStream()
        for i in range(3):
            await stream.write(request("a", id=str(i)))
            assert (await stream.read()).id == str(i)
        await stream.done_writing()

    with_server(ask)


def test_a_stream_takes_no_further_requests_while_its_replies_are_not_taken():
    async def run():
        app = TextService(Catalog([ServedModel(LocalRunner(FakeTextModel(manifest())))]))
        taken = 0

        async def requests():
            nonlocal taken
            for i in range(400):
                taken += 1
                yield request("a", id=str(i))

        class Context:
            def invocation_metadata(self):
                return ()

        replies = GrpcMethods(lambda: app).InferStream(requests(), Context())
        await anext(replies)
        before = -1
        while taken > before:
            before = taken
            await asyncio.sleep(0.2)
        assert taken <= 40
        assert len([reply async for reply in replies]) == 399
        await app.close()

    asyncio.run(run())


def test_deadline_and_overload():
    gate = threading.Event()

    async def ask(stub, channel, app):
        first = asyncio.ensure_future(stub.Infer(request("a")))
        await asyncio.sleep(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await stub.Infer(request("b"), timeout=0.1)
        assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        waiting = [asyncio.ensure_future(stub.Infer(request(*["abcdef"] * 5))) for _ in range(2)]
        await asyncio.sleep(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as full:
            await stub.Infer(request("b"))
        assert full.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(full.value.trailing_metadata())["retry-after-ms"]) >= 100
        gate.set()
        await asyncio.gather(first, *waiting)

    with_server(ask, gate)


def test_health_and_models():
    async def ask(stub, channel, app):
        health = health_pb2_grpc.HealthStub(channel)
        reply = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError):
            await health.Check(health_pb2.HealthCheckRequest(service="other"))
        models = (await stub.ListModels(pb.ListModelsRequest())).models
        assert [model["id"] for model in models] == ["fake", "plain"]
        await app.close()
        closed = await health.Check(health_pb2.HealthCheckRequest())
        assert closed.status == health_pb2.HealthCheckResponse.NOT_SERVING

    with_server(ask)


def test_the_committed_code_is_what_the_proto_gives(tmp_path):
    proto = "ernie_ray/serving/proto/text_service.proto"
    out = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *out, proto]
    subprocess.run(command, cwd=ROOT, check=True)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) == 3
    for path in made:
        assert path.read_text() == (ROOT / path.relative_to(tmp_path)).read_text()
