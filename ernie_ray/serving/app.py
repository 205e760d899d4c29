"""The ASGI application: exact paths, size limits, and errors in JSON. No framework on the way.

Runs under Ray Serve, uvicorn or a test transport alike; knows nothing of Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from ernie_ray.errors import RequestTooLargeError
from ernie_ray.serving.args import RequestLimits
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.openai_routes import OpenAiRoutes, openai_shape
from ernie_ray.serving.own_routes import OwnRoutes
from ernie_ray.serving.reply import (
    ErrorShape,
    Problem,
    Reply,
    json_reply,
    own_shape,
    problem_of,
    problem_reply,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Route:
    """What answers a path.

    Attributes:
        method: The only method that it takes.
        answer: Body bytes to reply.
        shape: Gives its errors the dialect's form.
    """

    method: str
    answer: Callable[[bytes], Awaitable[Reply]]
    shape: ErrorShape = own_shape


class TextService:
    """Serves a catalog of models over HTTP."""

    def __init__(self, catalog: Catalog, limits: RequestLimits | None = None) -> None:
        """Build the routes.

        Args:
            catalog: Loaded models.
            limits: Bounds of one request's body.
        """
        self._catalog = catalog
        self._max_body_bytes = (limits or RequestLimits()).max_body_bytes
        self._is_closing = False
        own, openai = OwnRoutes(catalog), OpenAiRoutes(catalog)
        self._routes = {
            "/v1/vectors": Route("POST", own.vectors),
            "/v1/scores": Route("POST", own.scores),
            "/v1/infer": Route("POST", own.infer),
            "/v1/embeddings": Route("POST", openai.embeddings, openai_shape),
            "/v1/models": Route("GET", self._list_models),
            "/health": Route("GET", self._health),
            "/ready": Route("GET", self._ready),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "http":
            await self._answer_http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _follow_lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def check_models(self) -> None:
        """Run a real forward through every model, past its queue.

        Raises:
            Exception: Whatever an engine that no longer works raises.
        """
        for served in self._catalog:
            rows = await asyncio.to_thread(served.model.tokenize, ["health"])
            await asyncio.to_thread(served.model.forward, rows)

    async def close(self) -> None:
        """Refuse new work and finish what is inside."""
        self._is_closing = True
        await asyncio.gather(*(model.batcher.close() for model in self._catalog))

    async def _answer_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        route = self._routes.get(path)
        if route is None:
            known = ", ".join(self._routes)
            problem = Problem(
                404, "unknown_path", f"nothing is served at {path[:100]}; try {known}"
            )
            reply = problem_reply(problem)
        elif scope["method"] != route.method:
            problem = Problem(405, "wrong_method", f"send {route.method} to {path}")
            reply = problem_reply(problem, route.shape, [(b"allow", route.method.encode())])
        elif self._is_closing and route.method == "POST":
            problem = Problem(503, "closing", "this replica is shutting down; send it again", 1.0)
            reply = problem_reply(problem, route.shape)
        else:
            try:
                body = await _read_body(scope, receive, self._max_body_bytes)
                reply = await route.answer(body)
            except _ClientGoneError:
                return
            except Exception as error:  # whatever a handler raises becomes a JSON reply
                reply = problem_reply(problem_of(error), route.shape)
        length = (b"content-length", b"%d" % len(reply.body))
        headers = [*reply.headers, length]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _list_models(self, _: bytes) -> Reply:
        data = [
            # The first four are what OpenAI clients read; the time of creation is not recorded.
            {"id": m.name, "object": "model", "created": 0, "owned_by": "ernie-ray", **m.describe()}
            for m in self._catalog
        ]
        return json_reply({"object": "list", "data": data})

    async def _health(self, _: bytes) -> Reply:
        return json_reply({"status": "alive"})

    async def _ready(self, _: bytes) -> Reply:
        if self._is_closing:
            return problem_reply(Problem(503, "closing", "this replica is shutting down"))
        return json_reply({"status": "ready", "models": [model.name for model in self._catalog]})


class _ClientGoneError(Exception):
    """The client left before its body was complete."""


async def _read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    for name, value in scope["headers"]:
        # Refused before a byte is read; what is sent in chunks is counted below.
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)
    chunks: list[bytes] = []
    num_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGoneError
        chunks.append(message.get("body", b""))
        num_bytes += len(chunks[-1])
        if num_bytes > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body"):
            return b"".join(chunks)


def _too_large(max_bytes: int) -> RequestTooLargeError:
    return RequestTooLargeError(
        f"the body is longer than {max_bytes} bytes; send fewer texts in one request"
    )


async def _follow_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
