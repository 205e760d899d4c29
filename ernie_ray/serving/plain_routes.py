"""Routes that answer without a model: models, health, metrics, the API's own documents."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Protocol

import orjson

from ernie_ray.serving.ask import Call
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.meters import Meters
from ernie_ray.serving.openapi import openapi_document
from ernie_ray.serving.reply import Problem, Reply, json_reply, problem_reply


class Service(Protocol):
    """What the routes tell of."""

    catalog: Catalog

    @property
    def is_closing(self) -> bool:
        """Whether new requests are refused."""

    async def check_models(self) -> None:
        """Run a real forward through every model."""


class PlainRoutes:
    """Handlers of the GET routes."""

    def __init__(self, service: Service, meters: Meters) -> None:
        self._service = service
        self._meters = meters

    async def models(self, _: bytes, call: Call) -> Reply:
        """GET /v1/models."""
        data = [
            # The first four are what OpenAI clients read; the time of creation is not recorded.
            {"id": m.name, "object": "model", "created": 0, "owned_by": "ernie-ray", **m.describe()}
            for m in self._service.catalog
        ]
        return json_reply({"object": "list", "data": data})

    async def health(self, _: bytes, call: Call) -> Reply:
        """GET /health: every model of this replica just ran a real forward."""
        await self._service.check_models()
        return json_reply({"status": "alive"})

    async def ready(self, _: bytes, call: Call) -> Reply:
        """GET /ready: the models are loaded and new requests are taken."""
        if self._service.is_closing:
            return problem_reply(Problem(503, "closing", "this replica is shutting down", 1.0))
        names = [model.name for model in self._service.catalog]
        return json_reply({"status": "ready", "models": names})

    async def metrics(self, _: bytes, call: Call) -> Reply:
        """GET /metrics: this replica's numbers; Ray exports those of all."""
        text = self._meters.text().encode()
        return Reply(200, text, ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),))

    async def openapi(self, _: bytes, call: Call) -> Reply:
        """GET /openapi.json."""
        return Reply(200, _openapi_bytes())

    async def docs(self, _: bytes, call: Call) -> Reply:
        """GET /docs: a page that reads the document and sends requests; it needs no other host."""
        headers = (
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", b"default-src 'self' 'unsafe-inline'"),
        )
        return Reply(200, _docs_page(), headers)


@cache
def _openapi_bytes() -> bytes:
    return orjson.dumps(openapi_document())


@cache
def _docs_page() -> bytes:
    return files("ernie_ray.serving").joinpath("docs.html").read_bytes()
