"""One line of JSON for a request: id, route, status, times. Texts are never logged."""

from __future__ import annotations

import logging
from typing import Literal

import orjson

from ernie_ray.serving.reply import Reply

logger = logging.getLogger("ernie_ray.requests")

_ERRORS_FROM = 400


class RequestLog:
    """Notes requests in a log."""

    def __init__(
        self, which: Literal["all", "errors", "none"], log: logging.Logger = logger
    ) -> None:
        """Choose which requests get a line.

        Args:
            which: Requests that get one.
            log: Where the lines go.
        """
        self._log = log
        self._from_status = {"all": 0, "errors": _ERRORS_FROM, "none": 1000}[which]

    def note(self, request_id: str, route: str, reply: Reply, total_s: float) -> None:
        """Write the line of one answered request."""
        if reply.status < self._from_status:
            return
        line: dict[str, object] = {
            "request_id": request_id,
            "route": route,
            "status": reply.status,
            "total_ms": round(total_s * 1e3, 2),
        }
        if reply.reason:
            line["reason"] = reply.reason
        result = reply.result
        if result is not None:
            line |= {
                "model": reply.model,
                "fingerprint": result.fingerprint,
                "num_texts": result.num_texts,
                "num_tokens": result.num_tokens,
                "num_failed": len(result.errors),
                "tokenize_ms": round(result.tokenize_s * 1e3, 2),
                "queue_ms": round(result.queue_s * 1e3, 2),
                "forward_ms": round(result.forward_s * 1e3, 2),
                "serialise_ms": round(reply.serialise_s * 1e3, 2),
            }
        self._log.info(orjson.dumps(line).decode())
