"""HTTP replies and the one table from error types to status codes.

The only place that knows status codes. Every error is JSON; its text says what to change.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ernie_ray.errors import (
    DeadlineError,
    EmptyTextError,
    ErnieRayError,
    InferenceError,
    MalformedRequestError,
    OverloadedError,
    RequestTooLargeError,
    SlowRequestError,
    TextTooLongError,
    UnauthorizedError,
    UnavailableError,
    UnknownModelError,
    UnsupportedTaskError,
)
from ernie_ray.serving.ask import Result

logger = logging.getLogger(__name__)

Header = tuple[bytes, bytes]
JSON_TYPE: Header = (b"content-type", b"application/json")


@dataclass(frozen=True)
class Reply:
    """One HTTP reply; length, times and request id are added when it is sent.

    Attributes:
        status: HTTP status.
        body: Content.
        headers: What the route says of it.
        reason: The error's type; empty if there is none.
        model: Name of the model that answered.
        result: What it gave; None where no model ran.
        serialise_s: Seconds spent on writing the body.
    """

    status: int
    body: bytes
    headers: Sequence[Header] = (JSON_TYPE,)
    reason: str = ""
    model: str = ""
    result: Result | None = None
    serialise_s: float = 0.0


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
    UnauthorizedError: (401, "unauthorized"),
    UnknownModelError: (404, "unknown_model"),
    SlowRequestError: (408, "slow_request"),
    TextTooLongError: (413, "text_too_long"),
    RequestTooLargeError: (413, "request_too_large"),
    UnsupportedTaskError: (422, "unsupported_task"),
    OverloadedError: (429, "overloaded"),
    UnavailableError: (503, "unavailable"),
    DeadlineError: (504, "deadline_exceeded"),
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
    return Reply(status, _dumps(content), (JSON_TYPE, *headers))


def answer_reply(content: Any, model: str, result: Result) -> Reply:
    """Serialise what a model answered."""
    started_s = time.monotonic()
    body = _dumps(content)
    return Reply(200, body, model=model, result=result, serialise_s=time.monotonic() - started_s)


def problem_reply(
    problem: Problem, shape: ErrorShape = own_shape, headers: Sequence[Header] = ()
) -> Reply:
    """The reply for an error, with Retry-After where trying again makes sense."""
    more = list(headers)
    if problem.retry_after_s is not None:
        # Whole seconds by the standard; the second header is read by the openai client first.
        more.append((b"retry-after", b"%d" % math.ceil(problem.retry_after_s)))
        more.append((b"retry-after-ms", b"%d" % math.ceil(problem.retry_after_s * 1000)))
    if problem.status == 401:
        more.append((b"www-authenticate", b"Bearer"))
    return Reply(problem.status, _dumps(shape(problem)), (JSON_TYPE, *more), problem.type)


def _dumps(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
