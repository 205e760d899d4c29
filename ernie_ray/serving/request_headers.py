"""What the service reads of a request's headers, in one pass over them.

Knows neither routes nor models. Header names are lower case, as ASGI gives them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import uuid4

from ernie_ray.errors import MalformedRequestError
from ernie_ray.inference.lane_queue import Lane
from ernie_ray.serving.args import RequestLimits
from ernie_ray.serving.ask import Call

_REQUEST_ID = re.compile(rb"[\w.:-]{1,64}")
_LANES = {b"interactive": Lane.INTERACTIVE, b"bulk": Lane.BULK}


@dataclass(slots=True)
class RequestHeaders:
    """Raw values; None (or 0) where the client sent none."""

    num_bytes: int = 0
    content_length: bytes | None = None
    content_encoding: bytes | None = None
    authorization: bytes | None = None
    api_key: bytes | None = None
    origin: bytes | None = None
    timeout_ms: bytes | None = None
    lane: bytes | None = None
    request_id: bytes | None = None


_FIELDS = {
    b"content-length": "content_length",
    b"content-encoding": "content_encoding",
    b"authorization": "authorization",
    b"x-api-key": "api_key",
    b"origin": "origin",
    b"x-request-timeout-ms": "timeout_ms",
    b"x-lane": "lane",
    b"x-request-id": "request_id",
}


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> RequestHeaders:
    """Pick out what the service knows."""
    found = RequestHeaders()
    for name, value in headers:
        found.num_bytes += len(name) + len(value)
        field = _FIELDS.get(name)
        if field is not None:
            setattr(found, field, value)
    return found


def call_of(headers: RequestHeaders, limits: RequestLimits) -> Call:
    """The part of a request that every dialect shares.

    Raises:
        MalformedRequestError: A header has a value that means nothing; none can lift a limit.
    """
    timeout_ms = limits.max_timeout_ms
    if headers.timeout_ms is not None:
        if not headers.timeout_ms.isdigit() or len(headers.timeout_ms) > 9:
            raise MalformedRequestError("x-request-timeout-ms must be a whole number, 1 or more")
        timeout_ms = min(timeout_ms, int(headers.timeout_ms))
        if timeout_ms < 1:
            raise MalformedRequestError("x-request-timeout-ms must be a whole number, 1 or more")
    lane = Lane.INTERACTIVE
    if headers.lane is not None:
        known = _LANES.get(headers.lane.lower())
        if known is None:
            raise MalformedRequestError("x-lane must be interactive or bulk")
        lane = known
    return Call(timeout_ms / 1e3, lane, request_id_of(headers))


def request_id_of(headers: RequestHeaders) -> str:
    """The client's id if it is short and plain, else a new one."""
    sent = headers.request_id
    return sent.decode() if sent is not None and is_plain_id(sent) else uuid4().hex


def is_plain_id(value: bytes) -> bool:
    """Whether a client's request id may stand in logs and replies."""
    return _REQUEST_ID.fullmatch(value) is not None
