"""HTTP replies and the one table from error types to status codes.

The only place that knows status codes. Every error is JSON; its text says what to change.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ernie_ray.errors import (
    EmptyTextError,
    ErnieRayError,
    InferenceError,
    MalformedRequestError,
    OverloadedError,
    RequestTooLargeError,
    TextTooLongError,
    UnknownModelError,
    UnsupportedTaskError,
)

logger = logging.getLogger(__name__)

Header = tuple[bytes, bytes]
JSON_TYPE: Header = (b"content-type", b"application/json")


@dataclass(frozen=True)
class Reply:
    """One HTTP reply; the length header is added when it is sent."""

    status: int
    body: bytes
    headers: Sequence[Header] = (JSON_TYPE,)


@dataclass(frozen=True)
class Problem:
    """An error as clients see it, before a dialect gives it a shape."""

    status: int
    type: str
    message: str
    retry_after_s: float | None = None


ErrorShape = Callable[[Problem], dict[str, Any]]

# Looked up by the error's own class, then its bases.
STATUS: dict[type[Exception], tuple[int, str]] = {
    MalformedRequestError: (400, "malformed_request"),
    EmptyTextError: (400, "empty_text"),
    UnknownModelError: (404, "unknown_model"),
    TextTooLongError: (413, "text_too_long"),
    RequestTooLargeError: (413, "request_too_large"),
    UnsupportedTaskError: (422, "unsupported_task"),
    OverloadedError: (429, "overloaded"),
    InferenceError: (500, "inference_failed"),
    ErnieRayError: (500, "internal_error"),
}


def problem_of(error: Exception) -> Problem:
    """What a client is told of an error; a bug is logged and shown without its details."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            status, name = STATUS[kind]
            retry_after_s = error.retry_after_s if isinstance(error, OverloadedError) else None
            return Problem(status, name, str(error), retry_after_s)
    logger.error("a request failed unexpectedly", exc_info=error)
    return Problem(500, "internal_error", "the service failed on this request; see its log")


def own_shape(problem: Problem) -> dict[str, Any]:
    """The error body of our own routes."""
    return {"error": {"type": problem.type, "message": problem.message}}


def json_reply(content: Any, headers: Sequence[Header] = (), status: int = 200) -> Reply:
    """Serialise a reply; numpy arrays become lists."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Reply(status, body, (JSON_TYPE, *headers))


def problem_reply(
    problem: Problem, shape: ErrorShape = own_shape, headers: Sequence[Header] = ()
) -> Reply:
    """The reply for an error, with Retry-After where trying again makes sense."""
    retry: list[Header] = []
    if problem.retry_after_s is not None:
        # Whole seconds by the standard; the second header is read by the openai client first.
        retry.append((b"retry-after", b"%d" % math.ceil(problem.retry_after_s)))
        retry.append((b"retry-after-ms", b"%d" % math.ceil(problem.retry_after_s * 1000)))
    return json_reply(shape(problem), (*headers, *retry), problem.status)
