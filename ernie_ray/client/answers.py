"""What the client gives back, and the error it raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class ApiError(Exception):
    """The service refused or failed a request, or could not be reached.

    Attributes:
        status: HTTP status; 0 if there was no reply.
        type: The service's name for it, e.g. ``text_too_long``; ``unreachable`` without a reply.
        request_id: Names the request in the service's log.
    """

    def __init__(self, message: str, *, status: int, type: str, request_id: str = "") -> None:
        """Keep what the service said."""
        super().__init__(message)
        self.status = status
        self.type = type
        self.request_id = request_id


@dataclass(frozen=True)
class Answer:
    """The answer to one request.

    Attributes:
        model: Name of the model that answered.
        fingerprint: Of its weights, labels and settings; do not mix vectors of two fingerprints.
        vectors: One for each text, None where it failed; empty if none were asked for.
        scores: Task results in the same way.
        errors: Messages of the texts that failed, by position.
        truncated: Positions of texts that were cut.
        num_tokens: Tokens of all texts.
        request_id: Names the request in the service's log.
        times_ms: Milliseconds by stage, as the service measured them.
    """

    model: str
    fingerprint: str
    vectors: Sequence[Any] = ()
    scores: Sequence[Mapping[str, Any] | None] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    truncated: Sequence[int] = ()
    num_tokens: int = 0
    request_id: str = ""
    times_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelInfo:
    """One served model.

    Attributes:
        name: Name in requests.
        fingerprint: Of its weights, labels and settings.
        task: Family and labels.
        limits: What one request may hold.
        description: All that the service tells, lineage and metrics among it.
    """

    name: str
    fingerprint: str
    task: Mapping[str, Any]
    limits: Mapping[str, int]
    description: Mapping[str, Any]


def read_answer(body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    """Read a reply of /v1/vectors, /v1/scores or /v1/infer."""
    return Answer(
        model=body["model"],
        fingerprint=body["fingerprint"],
        vectors=body.get("vectors", ()),
        scores=body.get("scores", ()),
        errors={one["index"]: one["message"] for one in body["errors"]},
        truncated=body["truncated"],
        num_tokens=body["usage"]["num_tokens"],
        request_id=headers.get("x-request-id", ""),
        times_ms={
            name[2:-3]: float(value)
            for name, value in headers.items()
            if name.startswith("x-") and name.endswith("-ms")
        },
    )


def read_models(body: Mapping[str, Any]) -> list[ModelInfo]:
    """Read a reply of /v1/models."""
    return [
        ModelInfo(one["id"], one["fingerprint"], one["task"], one["limits"], one)
        for one in body["data"]
    ]
