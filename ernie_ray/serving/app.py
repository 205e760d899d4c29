"""The ASGI application: exact paths, size limits, and errors in JSON. No framework on the way.

Runs under Ray Serve, uvicorn or a test transport alike; knows nothing of Ray.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from ernie_ray.errors import RequestTooLargeError, SlowRequestError
from ernie_ray.serving.api_keys import ApiKeys
from ernie_ray.serving.args import RequestLimits
from ernie_ray.serving.ask import Call
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.cors import Cors
from ernie_ray.serving.disconnect import ClientGoneError, DisconnectWatch
from ernie_ray.serving.liveness import Liveness
from ernie_ray.serving.meters import Meters
from ernie_ray.serving.openai_routes import OpenAiRoutes, openai_shape
from ernie_ray.serving.own_routes import OwnRoutes
from ernie_ray.serving.plain_routes import PlainRoutes
from ernie_ray.serving.reply import (
    ErrorShape,
    Header,
    Problem,
    Reply,
    own_shape,
    problem_of,
    problem_reply,
)
from ernie_ray.serving.request_headers import RequestHeaders, call_of, read_headers, request_id_of
from ernie_ray.serving.request_log import RequestLog
from ernie_ray.serving.service_metrics import RequestMetrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Route:
    """What answers a path.

    Attributes:
        method: The only method that it takes; GET means HEAD, too.
        answer: Body bytes to reply.
        shape: Gives its errors the dialect's form.
        is_open: Needs no API key.
    """

    method: str
    answer: Callable[[bytes, Call], Awaitable[Reply]]
    shape: ErrorShape = own_shape
    is_open: bool = False


@dataclass(frozen=True)
class ServiceOptions:
    """What a service is told beside its models.

    Attributes:
        limits: Bounds of one request.
        keys: Who may ask.
        cors: Web pages that may ask.
        log: Where requests are noted.
        meters: Where they are counted.
        sends_request_id: Put ``x-request-id`` on replies; Ray Serve does it itself.
    """

    limits: RequestLimits
    keys: ApiKeys
    cors: Cors
    log: RequestLog
    meters: Meters
    sends_request_id: bool = True


def default_options(limits: RequestLimits | None = None) -> ServiceOptions:
    """An open service that logs errors."""
    return ServiceOptions(
        limits or RequestLimits(), ApiKeys(), Cors(()), RequestLog("errors"), Meters()
    )


class TextService:
    """Serves a catalog of models over HTTP."""

    def __init__(self, catalog: Catalog, options: ServiceOptions | None = None) -> None:
        """Build the routes.

        Args:
            catalog: Loaded models.
            options: Limits, keys, logs and meters.
        """
        self.catalog = catalog
        self.options = options or default_options()
        self._metrics = RequestMetrics(self.options.meters)
        self._liveness = Liveness(self._run_forwards)
        self._num_open = 0
        self._is_closing = False
        self._is_empty = asyncio.Event()
        own, openai = OwnRoutes(catalog), OpenAiRoutes(catalog)
        plain = PlainRoutes(self, self.options.meters)
        self._routes = {
            "/v1/vectors": Route("POST", own.vectors),
            "/v1/scores": Route("POST", own.scores),
            "/v1/infer": Route("POST", own.infer),
            "/v1/embeddings": Route("POST", openai.embeddings, openai_shape),
            "/v1/models": Route("GET", plain.models),
            "/metrics": Route("GET", plain.metrics),
            "/health": Route("GET", plain.health, is_open=True),
            "/ready": Route("GET", plain.ready, is_open=True),
            "/openapi.json": Route("GET", plain.openapi, is_open=True),
            "/docs": Route("GET", plain.docs, is_open=True),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "http":
            self._num_open += 1
            try:
                await self._answer_http(scope, receive, send)
            except ClientGoneError:
                self._metrics.replied("none", 499, "client_gone")
            finally:
                self._num_open -= 1
                self._report_empty()
        elif scope["type"] == "lifespan":
            await _follow_lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    @property
    def is_closing(self) -> bool:
        """Whether new requests are refused."""
        return self._is_closing

    async def check_models(self) -> None:
        """Run a real forward through every model of this process, past its queue.

        Raises:
            UnavailableError: An engine failed, or hangs.
        """
        await self._liveness.check()

    def note(self, call_id: str, route: str, reply: Reply, total_s: float) -> None:
        """Count and log one answered request.

        Args:
            call_id: Names the request.
            route: What it asked, as metrics call it; never what a client made up.
            reply: What it got.
            total_s: Seconds from its headers to its reply.
        """
        self._metrics.replied(route, reply.status, reply.reason)
        if reply.result is not None:
            self._metrics.answered(reply.model, reply.result, reply.serialise_s, total_s)
        self.options.log.note(call_id, route, reply, total_s)

    async def close(self) -> None:
        """Refuse new work and finish what is inside."""
        self._is_closing = True
        self._report_empty()
        await self._is_empty.wait()
        await asyncio.gather(*(model.runner.close() for model in self.catalog))

    async def _run_forwards(self) -> None:
        for model in self.catalog:
            await model.runner.check()

    def _report_empty(self) -> None:
        if self._is_closing and not self._num_open:
            self._is_empty.set()

    async def _answer_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = time.monotonic()
        headers = read_headers(scope["headers"])
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        route = self._routes.get(path)
        reply = self._refusal(route, path, scope["method"], headers)
        if reply is None and route is not None:
            reply = await self._answer(route, headers, receive)
        assert reply is not None  # a request without a route was refused
        request_id = request_id_of(headers)
        more = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        more += self.options.cors.headers(headers.origin)
        if self.options.sends_request_id:
            more.append((b"x-request-id", request_id.encode()))
        more += _times(reply, time.monotonic() - started_s)
        await send({"type": "http.response.start", "status": reply.status, "headers": more})
        body = b"" if scope["method"] == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": body})
        label = path if route is not None else "unknown"
        self.note(request_id, label, reply, time.monotonic() - started_s)

    def _refusal(
        self, route: Route | None, path: str, method: str, headers: RequestHeaders
    ) -> Reply | None:
        if route is None:
            known = ", ".join(self._routes)
            return problem_reply(
                Problem(404, "unknown_path", f"nothing is served at {path[:100]}; try {known}")
            )
        if method == "OPTIONS" and self.options.cors:
            return self.options.cors.preflight(headers.origin, route.method)
        if method != route.method and not (method == "HEAD" and route.method == "GET"):
            allowed = "GET, HEAD" if route.method == "GET" else route.method
            problem = Problem(405, "wrong_method", f"send {route.method} to {path}")
            return problem_reply(problem, route.shape, [(b"allow", allowed.encode())])
        limit = self.options.limits.max_header_bytes
        if headers.num_bytes > limit:
            text = f"the headers have {headers.num_bytes} bytes; send at most {limit}"
            return problem_reply(Problem(431, "headers_too_large", text), route.shape)
        if headers.content_encoding not in (None, b"", b"identity"):
            text = "send the body as it is, without content-encoding"
            return problem_reply(Problem(415, "unsupported_encoding", text), route.shape)
        if self._is_closing and route.method == "POST":
            text = "this replica is shutting down; send it again"
            return problem_reply(Problem(503, "closing", text, 1.0), route.shape)
        return None

    async def _answer(self, route: Route, headers: RequestHeaders, receive: Receive) -> Reply:
        try:
            if not route.is_open:
                self.options.keys.check(headers.authorization, headers.api_key)
            call = call_of(headers, self.options.limits)
            if route.method == "GET":
                return await route.answer(b"", call)
            max_bytes = self.options.limits.max_body_bytes
            body = await _read_body(headers, receive, max_bytes, call.timeout_s)
            with DisconnectWatch(receive):
                return await route.answer(body, call)
        except ClientGoneError:
            raise
        except Exception as error:  # whatever a handler raises becomes a JSON reply
            return problem_reply(problem_of(error), route.shape)


async def _read_body(
    headers: RequestHeaders, receive: Receive, max_bytes: int, timeout_s: float
) -> bytes:
    length = headers.content_length
    # Refused before a byte is read; what is sent in chunks is counted below.
    if length is not None and length.isdigit() and int(length[:20]) > max_bytes:
        raise _too_large(max_bytes)
    message = await _next_part(receive, timeout_s)
    if not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body
    chunks: list[bytes] = [message.get("body", b"")]
    num_bytes = len(chunks[0])
    ends_s = time.monotonic() + timeout_s
    while message.get("more_body"):
        message = await _next_part(receive, ends_s - time.monotonic())
        chunks.append(message.get("body", b""))
        num_bytes += len(chunks[-1])
        if num_bytes > max_bytes:
            raise _too_large(max_bytes)
    return b"".join(chunks)


async def _next_part(receive: Receive, timeout_s: float) -> MutableMapping[str, Any]:
    try:
        async with asyncio.timeout(timeout_s):
            message = await receive()
    except TimeoutError:
        raise SlowRequestError("the body did not arrive in time; send it faster") from None
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message


def _too_large(max_bytes: int) -> RequestTooLargeError:
    return RequestTooLargeError(
        f"the body is longer than {max_bytes} bytes; send fewer texts in one request"
    )


def _times(reply: Reply, total_s: float) -> list[Header]:
    """Milliseconds of each stage as reply headers."""
    result = reply.result
    if result is None:
        return []
    return [
        (b"x-tokenize-ms", b"%.2f" % (result.tokenize_s * 1e3)),
        (b"x-queue-ms", b"%.2f" % (result.queue_s * 1e3)),
        (b"x-forward-ms", b"%.2f" % (result.forward_s * 1e3)),
        (b"x-serialise-ms", b"%.2f" % (reply.serialise_s * 1e3)),
        (b"x-total-ms", b"%.2f" % (total_s * 1e3)),
    ]


async def _follow_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
