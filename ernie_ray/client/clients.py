"""The clients: the same methods twice, once to await."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypedDict, Unpack

import httpx

from ernie_ray.client.answers import Answer, ApiError, ModelInfo, read_answer, read_models
from ernie_ray.client.retries import Retries

Texts = str | Sequence[str] | Sequence[tuple[str, str]]

_MARGIN_S = 5.0  # the service answers at its deadline; the connection waits a little longer


class VectorOptions(TypedDict, total=False):
    """What a request may say of its vectors; what it leaves out is as the model says.

    Attributes:
        pooling: ``cls``, ``mean``, ``max``, ``mean_max``, ``pooler``, or ``none``: one per token.
        layers: Layers to join: 1 is the first, -1 the last.
        normalize: Scale vectors to length 1.
        dimensions: Keep the first so many numbers.
        encoding: ``base64``: little-endian float32 instead of lists of numbers.
        truncate: Cut texts that are too long instead of refusing them.
    """

    pooling: str
    layers: Sequence[int]
    normalize: bool
    dimensions: int
    encoding: Literal["float", "base64"]
    truncate: bool


class _Base:
    """What both clients share: settings, and what is sent and read."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        lane: Literal["interactive", "bulk"] = "interactive",
    ) -> None:
        """Set up a client; nothing is sent yet.

        Args:
            url: Where the service is, e.g. ``http://127.0.0.1:8000``.
            api_key: Sent with every request.
            timeout_s: Deadline of one try; the service drops work that passed it.
            retries: When to try again.
            lane: ``bulk`` lets the interactive requests of others go first.
        """
        self._retries = retries or Retries()
        self._headers = {
            "x-request-timeout-ms": str(max(1, round(timeout_s * 1e3))),
            "x-lane": lane,
        }
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._options: dict[str, Any] = {
            "base_url": url,
            "headers": self._headers,
            "timeout": timeout_s + _MARGIN_S,
            "limits": httpx.Limits(max_connections=100, max_keepalive_connections=100),
        }

    def _wait_s(self, num_tries: int, reply: httpx.Response | None) -> float | None:
        status, headers = (0, {}) if reply is None else (reply.status_code, dict(reply.headers))
        return self._retries.wait_s(num_tries, status, headers)


def _body(texts: Texts, model: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"texts": texts if isinstance(texts, str) else list(texts), **options}
    return body if model is None else {**body, "model": model}


def _json_of(reply: httpx.Response) -> Any:
    if reply.status_code == 200:
        return reply.json()
    request_id = reply.headers.get("x-request-id", "")
    try:
        error = reply.json()["error"]
        message, kind = error["message"], error.get("type", "")
    except (ValueError, KeyError, TypeError):
        message, kind = reply.text[:200] or reply.reason_phrase, "proxy_error"
    raise ApiError(message, status=reply.status_code, type=kind, request_id=request_id)


def _unreachable(error: httpx.TransportError) -> ApiError:
    return ApiError(f"no reply: {error!r}", status=0, type="unreachable")


class Client(_Base):
    """Asks a service. Thread-safe; close it, or use it in a ``with`` block."""

    def __init__(self, url: str, **settings: Any) -> None:
        """Set up a client; see ``_Base`` for the settings."""
        super().__init__(url, **settings)
        self._http = httpx.Client(**self._options)

    def vectors(
        self, texts: Texts, *, model: str | None = None, **options: Unpack[VectorOptions]
    ) -> Answer:
        """Vectors of texts or pairs.

        Args:
            texts: One text, several, or pairs.
            model: Name of a model; None: the default.
            **options: How vectors are made; see ``VectorOptions``.

        Raises:
            ApiError: The service refused it, or could not be reached however often it was tried.
        """
        return self._answer("/v1/vectors", _body(texts, model, options))

    def scores(self, texts: Texts, *, model: str | None = None, truncate: bool = False) -> Answer:
        """Task results of texts or pairs; see ``vectors``."""
        return self._answer("/v1/scores", _body(texts, model, {"truncate": truncate}))

    def infer(
        self, texts: Texts, *, model: str | None = None, **options: Unpack[VectorOptions]
    ) -> Answer:
        """Vectors and task results from one forward; see ``vectors``."""
        return self._answer("/v1/infer", _body(texts, model, options))

    def models(self) -> list[ModelInfo]:
        """The served models; the first is the default."""
        return read_models(_json_of(self._send("GET", "/v1/models", None)))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, path: str, body: Mapping[str, Any]) -> Answer:
        reply = self._send("POST", path, body)
        return read_answer(_json_of(reply), reply.headers)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        num_tries = 0
        while True:
            num_tries += 1
            reply = failure = None
            try:
                reply = self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                failure = error
            wait_s = self._wait_s(num_tries, reply)
            if wait_s is None:
                if reply is None:
                    assert failure is not None
                    raise _unreachable(failure) from failure
                return reply
            time.sleep(wait_s)


class AsyncClient(_Base):
    """Asks a service from asyncio code. Close it, or use it in an ``async with`` block."""

    def __init__(self, url: str, **settings: Any) -> None:
        """Set up a client; see ``_Base`` for the settings."""
        super().__init__(url, **settings)
        self._http = httpx.AsyncClient(**self._options)

    async def vectors(
        self, texts: Texts, *, model: str | None = None, **options: Unpack[VectorOptions]
    ) -> Answer:
        """Vectors of texts or pairs; see ``Client.vectors``."""
        return await self._answer("/v1/vectors", _body(texts, model, options))

    async def scores(
        self, texts: Texts, *, model: str | None = None, truncate: bool = False
    ) -> Answer:
        """Task results of texts or pairs; see ``Client.vectors``."""
        return await self._answer("/v1/scores", _body(texts, model, {"truncate": truncate}))

    async def infer(
        self, texts: Texts, *, model: str | None = None, **options: Unpack[VectorOptions]
    ) -> Answer:
        """Vectors and task results from one forward; see ``Client.vectors``."""
        return await self._answer("/v1/infer", _body(texts, model, options))

    async def models(self) -> list[ModelInfo]:
        """The served models; the first is the default."""
        return read_models(_json_of(await self._send("GET", "/v1/models", None)))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(self, path: str, body: Mapping[str, Any]) -> Answer:
        reply = await self._send("POST", path, body)
        return read_answer(_json_of(reply), reply.headers)

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        num_tries = 0
        while True:
            num_tries += 1
            reply = failure = None
            try:
                reply = await self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                failure = error
            wait_s = self._wait_s(num_tries, reply)
            if wait_s is None:
                if reply is None:
                    assert failure is not None
                    raise _unreachable(failure) from failure
                return reply
            await asyncio.sleep(wait_s)
