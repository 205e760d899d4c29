"""The OpenAPI 3.1 document, made from the same models that check request bodies.

Replies are described here and nowhere else; a test compares real ones with the document.
"""

from __future__ import annotations

from typing import Any

import ernie_ray
from ernie_ray.serving.bodies import Body, EmbeddingsBody, ScoresBody, VectorsBody

_JSON = "application/json"
_PROBLEMS = {
    400: "The request is not what the route takes; the message says what to change.",
    401: "No API key, or not one of the service's.",
    404: "No model of that name.",
    408: "The body did not arrive in time.",
    413: "The body, a text or the reply is larger than a limit.",
    415: "The body has a content-encoding.",
    422: "The model cannot answer this (no head, or a layer that is not exposed).",
    429: "The queue is full; Retry-After says when it will have drained.",
    431: "The headers are too large.",
    500: "The engine failed on every text.",
    503: "The replica is shutting down, or the model cannot be reached; try again.",
    504: "The answer was not ready in time.",
}
_OWN_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
_NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
_VECTOR = {"anyOf": [_NUMBERS, {"type": "array", "items": _NUMBERS}, {"type": "string"}]}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_VECTORS = {
    "dimensions": _COUNT,
    "vectors": {"type": "array", "items": {"anyOf": [*_VECTOR["anyOf"], {"type": "null"}]}},
}
_SCORES = {"scores": {"type": "array", "items": {"type": ["object", "null"]}}}
_TIMES = {
    f"x-{stage}-ms": {"schema": {"type": "number"}, "description": text}
    for stage, text in {
        "tokenize": "Milliseconds of cutting texts into tokens.",
        "queue": "Milliseconds until the first text ran.",
        "forward": "Milliseconds from then until the last was done.",
        "serialise": "Milliseconds of writing the reply.",
        "total": "Milliseconds of all in the replica.",
    }.items()
}
_CALL_HEADERS = [
    {
        "name": "x-request-timeout-ms",
        "in": "header",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
        "description": "Milliseconds until the answer is worth nothing; then 504. It can only "
        "shorten the service's own limit.",
    },
    {
        "name": "x-lane",
        "in": "header",
        "schema": {"type": "string", "enum": ["interactive", "bulk"]},
        "description": "bulk lets interactive requests go first; large ones are bulk anyway.",
    },
]


def openapi_document() -> dict[str, Any]:
    """Describe every route."""
    schemas: dict[str, Any] = {"Error": _OWN_ERROR, "OpenAiError": _openai_error()}
    paths = {
        "/v1/vectors": _post("Vectors of texts", VectorsBody, _own_reply(_VECTORS), schemas),
        "/v1/scores": _post("Task results of texts", ScoresBody, _own_reply(_SCORES), schemas),
        "/v1/infer": _post(
            "Both, from one forward", VectorsBody, _own_reply({**_VECTORS, **_SCORES}), schemas
        ),
        "/v1/embeddings": _post(
            "OpenAI's embeddings", EmbeddingsBody, _openai_reply(), schemas, "OpenAiError"
        ),
        "/v1/models": _get("Models with task, labels, limits, lineage", _models_reply(), [401]),
        "/health": _get("Every model runs a forward", {"type": "object"}, [503], is_open=True),
        "/ready": _get("New requests are taken", {"type": "object"}, [503], is_open=True),
        "/metrics": _get("Prometheus text of this replica", None, [401]),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ernie-ray",
            "version": ernie_ray.__version__,
            "description": "Vectors and scores of exported models. Errors of the proxy in front "
            "(HAProxy) are plain text with status 500 and may be sent again.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _post(
    summary: str,
    body: type[Body],
    reply: dict[str, Any],
    schemas: dict[str, Any],
    error: str = "Error",
) -> dict[str, Any]:
    schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    schemas[body.__name__] = schema
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}
    content["example"] = {"input" if body is EmbeddingsBody else "texts": ["hello"]}
    return {
        "post": {
            "summary": summary,
            "operationId": body.__name__ + summary.split(" ", maxsplit=1)[0],
            "parameters": _CALL_HEADERS,
            "requestBody": {"required": True, "content": {_JSON: content}},
            "responses": {
                "200": {
                    "description": "Answered.",
                    "headers": _TIMES,
                    "content": {_JSON: {"schema": reply}},
                },
                **_problems(_PROBLEMS, error),
            },
        }
    }


def _get(
    summary: str, reply: dict[str, Any] | None, problems: list[int], *, is_open: bool = False
) -> dict[str, Any]:
    content = (
        {_JSON: {"schema": reply}} if reply else {"text/plain": {"schema": {"type": "string"}}}
    )
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "Answered.", "content": content},
            **_problems([400, 415, 431, *problems], "Error"),
        },
    }
    if is_open:
        operation["security"] = [{}]
    return {"get": operation}


def _problems(statuses: Any, error: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{error}"}
    found = {}
    for status in statuses:
        one: dict[str, Any] = {
            "description": _PROBLEMS[status],
            "content": {_JSON: {"schema": schema}},
        }
        if status in (429, 503):
            one["headers"] = {
                "retry-after": {"schema": {"type": "integer"}, "description": "Seconds."}
            }
        found[str(status)] = one
    return found


def _own_reply(content: dict[str, Any]) -> dict[str, Any]:
    error = {
        "type": "object",
        "required": ["index", "type", "message"],
        "properties": {"index": _COUNT, "type": {"type": "string"}, "message": {"type": "string"}},
    }
    return {
        "type": "object",
        "required": ["model", "fingerprint", "errors", "truncated", "usage", *content],
        "additionalProperties": False,
        "properties": {
            "model": {"type": "string"},
            "fingerprint": {"type": "string"},
            **content,
            "errors": {"type": "array", "items": error},
            "truncated": {"type": "array", "items": _COUNT},
            "usage": {"type": "object", "properties": {"num_tokens": _COUNT}},
        },
    }


def _openai_reply() -> dict[str, Any]:
    item = {
        "type": "object",
        "required": ["object", "embedding", "index"],
        "properties": {"embedding": {"anyOf": [_NUMBERS, {"type": "string"}]}, "index": _COUNT},
    }
    return {
        "type": "object",
        "required": ["object", "data", "model", "usage"],
        "properties": {"data": {"type": "array", "items": item}, "model": {"type": "string"}},
    }


def _models_reply() -> dict[str, Any]:
    model = {
        "type": "object",
        "required": ["id", "fingerprint", "task", "vector", "limits", "lineage", "metrics"],
    }
    return {
        "type": "object",
        "required": ["object", "data"],
        "properties": {"data": {"type": "array", "items": model}},
    }


def _openai_error() -> dict[str, Any]:
    text = {"type": "string"}
    error = {
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "properties": {"message": text, "type": text, "code": text},
    }
    return {"type": "object", "required": ["error"], "properties": {"error": error}}
