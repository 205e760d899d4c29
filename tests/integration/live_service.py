"""The application behind a real uvicorn on a free port, in a thread: everything but Ray."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager

import uvicorn

from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.serving.api_keys import ApiKeys
from ernie_ray.serving.app import ServiceOptions, TextService
from ernie_ray.serving.args import RequestLimits
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.cors import Cors
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.meters import Meters
from ernie_ray.serving.request_log import RequestLog
from ernie_ray.serving.served_model import ServedModel
from tests.fake_text_model import FakeTextModel, manifest
from tests.integration.service_process import free_port

LIMITS = RequestLimits(max_body_bytes=20_000, max_texts=64, max_timeout_ms=2000)


@contextmanager
def live_service(*, digests=(), gate=None, max_queue_tokens=2000):
    """Serve two small models; gives the address."""
    port = free_port()
    server = None
    is_up = threading.Event()

    async def serve():
        nonlocal server
        batching = BatchLimits(max_batch_tokens=64, max_queue_tokens=max_queue_tokens)
        models = [
            FakeTextModel(manifest(), gate=gate),
            FakeTextModel(manifest(name="plain", has_head=False)),
        ]
        served = [
            ServedModel(LocalRunner(model, batching), limits=LIMITS, layers=["layer_2"])
            for model in models
        ]
        options = ServiceOptions(
            LIMITS, ApiKeys(tuple(digests)), Cors(()), RequestLog("none"), Meters()
        )
        app = TextService(Catalog(served), options)
        config = uvicorn.Config(app, port=port, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        is_up.set()
        await server.serve()
        await app.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    is_up.wait(10)
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
