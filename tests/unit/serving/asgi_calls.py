"""One request through the application in this process, without a server."""

import asyncio

import httpx

from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.serving.app import TextService, default_options
from ernie_ray.serving.args import RequestLimits
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.served_model import ServedModel
from tests.fake_text_model import FakeTextModel, manifest

LIMITS = RequestLimits(max_body_bytes=4000, max_texts=8, max_text_characters=200)


def served(*, gate=None, **options):
    batching = BatchLimits(max_batch_tokens=64, max_queue_tokens=80)
    runner = LocalRunner(FakeTextModel(manifest(**options), gate=gate), batching)
    return ServedModel(runner, limits=LIMITS, layers=["layer_2"])


def service():
    return TextService(
        Catalog([served(), served(name="plain", has_head=False)]), default_options(LIMITS)
    )


def call(method, path, app=None, **request):
    """One request through the application, as httpx sees it."""

    async def run():
        target = app or service()
        async with client_of(target) as client:
            response = await client.request(method, path, **request)
        await target.close()
        return response

    return asyncio.run(run())


def client_of(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def post(path, body, app=None):
    return call("POST", path, app, json=body)
