import asyncio
import threading

import pytest

from ernie_ray.errors import UnavailableError
from ernie_ray.serving.app import TextService, default_options
from ernie_ray.serving.args import RequestLimits
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.liveness import Liveness
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.served_model import ServedModel
from tests.fake_text_model import FakeTextModel, manifest
from tests.unit.serving.asgi_calls import call, client_of, served, service


def test_an_overloaded_service_says_when_to_come_back():
    gate = threading.Event()

    async def run():
        app = TextService(Catalog([served(gate=gate)]))
        async with client_of(app) as client:
            body = {"texts": ["abcdefgh"] * 6}  # 60 tokens
            first = asyncio.create_task(client.post("/v1/vectors", json=body))
            await asyncio.sleep(0.05)
            second = asyncio.create_task(client.post("/v1/vectors", json=body))
            await asyncio.sleep(0.05)
            refused = await client.post("/v1/embeddings", json={"input": body["texts"]})
            gate.set()
            assert (await first).status_code == (await second).status_code == 200
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert int(refused.headers["retry-after-ms"]) >= 100
            assert refused.json()["error"]["code"] == "overloaded"
        await app.close()

    asyncio.run(run())


def test_a_request_whose_time_is_over_gets_504_and_leaves_the_queue():
    gate = threading.Event()

    async def run():
        model = served(gate=gate)
        app = TextService(Catalog([model]))
        async with client_of(app) as client:
            first = asyncio.create_task(client.post("/v1/vectors", json={"texts": "a"}))
            await asyncio.sleep(0.05)
            late = await client.post(
                "/v1/vectors", json={"texts": ["b", "c"]}, headers={"x-request-timeout-ms": "60"}
            )
            assert late.status_code == 504
            assert late.json()["error"]["type"] == "deadline_exceeded"
            assert model.runner.batcher.num_queued_tokens == 0
            gate.set()
            assert (await first).status_code == 200
        assert len(model.runner.model.batches) == 1
        await app.close()

    asyncio.run(run())


@pytest.mark.parametrize("value", ["0", "-1", "", "1.5", "x", "9" * 30, "\u0661"])
def test_a_timeout_header_cannot_switch_the_limit_off(value):
    headers = {"x-request-timeout-ms": value.encode()}
    response = call("POST", "/v1/vectors", json={"texts": "a"}, headers=headers)
    assert response.status_code == 400
    assert "x-request-timeout-ms" in response.json()["error"]["message"]


def test_a_long_timeout_is_cut_to_the_services_own():
    gate = threading.Event()
    limits = RequestLimits(max_timeout_ms=50)

    async def run():
        runner = LocalRunner(FakeTextModel(manifest(), gate=gate))
        app = TextService(Catalog([ServedModel(runner, limits=limits)]), default_options(limits))
        async with client_of(app) as client:
            late = await client.post(
                "/v1/vectors", json={"texts": "a"}, headers={"x-request-timeout-ms": "99999999"}
            )
            assert late.status_code == 504
        gate.set()
        await app.close()

    asyncio.run(run())


def test_a_client_that_leaves_while_it_waits_takes_its_texts_with_it():
    gate = threading.Event()

    async def run():
        model = served(gate=gate)
        app = TextService(Catalog([model]))
        leaves = asyncio.Event()
        messages = [{"type": "http.request", "body": b'{"texts": ["b", "c"]}', "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            raise AssertionError("nobody is there")

        async with client_of(app) as client:
            first = asyncio.create_task(client.post("/v1/vectors", json={"texts": "a"}))
            await asyncio.sleep(0.05)
            scope = {"type": "http", "method": "POST", "path": "/v1/vectors", "headers": []}
            gone = asyncio.create_task(app(scope, receive, send))
            await asyncio.sleep(0.1)
            assert model.runner.batcher.num_queued_texts == 2
            leaves.set()
            await gone
            assert model.runner.batcher.num_queued_texts == 0
            gate.set()
            assert (await first).status_code == 200
        await app.close()

    asyncio.run(run())


def test_a_body_that_does_not_arrive_is_given_up():
    sent = []

    async def run():
        app = TextService(Catalog([served()]), default_options(RequestLimits(max_timeout_ms=50)))
        parts = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive():
            if parts:
                return parts.pop()
            await asyncio.sleep(60)
            raise AssertionError("nobody waits so long")

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/vectors", "headers": []}
        await app(scope, receive, send)
        await app.close()

    asyncio.run(run())
    assert sent[0]["status"] == 408


def test_closing_waits_for_requests_that_are_inside():
    gate = threading.Event()

    async def run():
        app = TextService(Catalog([served(gate=gate)]))
        async with client_of(app) as client:
            inside = asyncio.create_task(client.post("/v1/vectors", json={"texts": "a " * 5}))
            await asyncio.sleep(0.05)
            closing = asyncio.create_task(app.close())
            await asyncio.sleep(0.05)
            assert not closing.done()
            gate.set()
            assert (await inside).status_code == 200
            await closing

    asyncio.run(run())


def test_a_closing_service_is_alive_but_not_ready():
    async def run():
        app = service()
        async with client_of(app) as client:
            assert (await client.get("/ready")).json()["models"] == ["fake", "plain"]
            await app.close()
            assert (await client.get("/health")).status_code == 200
            assert (await client.get("/ready")).status_code == 503
            refused = await client.post("/v1/vectors", json={"texts": "a"})
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"

    asyncio.run(run())


def test_an_engine_that_breaks_is_reported_to_whoever_asks_for_its_health():
    async def run():
        model = served()
        app = TextService(Catalog([model]))
        async with client_of(app) as client:
            for _ in range(20):  # anyone may ask, so asking often costs nothing
                assert (await client.get("/health")).json() == {"status": "alive"}
            assert len(model.runner.model.batches) == 1
            model.runner.model.forward = lambda rows: 1 / 0
            await asyncio.sleep(1.05)
            sick = await client.get("/health")
            assert (sick.status_code, sick.json()["error"]["type"]) == (503, "unavailable")
            with pytest.raises(UnavailableError, match="division by zero"):
                await app.check_models()  # what Ray Serve asks before it replaces the replica
        await app.close()

    asyncio.run(run())


def test_an_engine_that_hangs_is_noticed_and_not_asked_again():
    num_started, end = 0, asyncio.Event()

    async def forward():
        nonlocal num_started
        num_started += 1
        await end.wait()

    async def run():
        liveness = Liveness(forward, timeout_s=0.01)
        for _ in range(3):
            with pytest.raises(UnavailableError, match="no forward ended"):
                await liveness.check()
        end.set()
        await liveness.check()
        assert num_started == 1

    asyncio.run(run())


def test_a_client_that_leaves_gets_no_answer():
    sent = []

    async def run():
        app = service()
        scope = {"type": "http", "method": "POST", "path": "/v1/vectors", "headers": []}

        async def receive():
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await app(scope, receive, send)
        await app.close()

    asyncio.run(run())
    assert sent == []
