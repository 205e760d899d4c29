"""The OpenAI dialect: /v1/embeddings, its reply and its error shape.

Token ids are taken as ids of this model's own tokenizer, special tokens included. The dialect has
no errors of single texts: if one fails, the request fails.
"""

from __future__ import annotations

from typing import Any

from ernie_ray.serving.ask import Ask, Call
from ernie_ray.serving.bodies import EmbeddingsBody, parse_body
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.reply import Problem, Reply, answer_reply
from ernie_ray.serving.vectors import encode


def openai_shape(problem: Problem) -> dict[str, Any]:
    """The error body that the openai client reads."""
    kind = "invalid_request_error" if problem.status < 500 else "server_error"
    return {
        "error": {
            "message": problem.message,
            "type": kind if problem.status != 429 else "rate_limit_error",
            "param": None,
            "code": problem.type,
        }
    }


class OpenAiRoutes:
    """Handlers of the OpenAI routes: body bytes in, reply out."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def embeddings(self, body: bytes, call: Call) -> Reply:
        """POST /v1/embeddings."""
        wanted = parse_body(EmbeddingsBody, body)
        model = self._catalog.pick(wanted.model)
        result = await model.run(_ask(wanted, call), call)
        for error in result.errors.values():
            raise error
        vectors = model.vectors(result, dimensions=wanted.dimensions)
        encoded = encode(vectors, as_base64=wanted.encoding_format == "base64")
        content = {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": embedding, "index": i}
                for i, embedding in enumerate(encoded)
            ],
            "model": model.name,
            "fingerprint": result.fingerprint,
            "usage": {"prompt_tokens": result.num_tokens, "total_tokens": result.num_tokens},
        }
        return answer_reply(content, model.name, result)


def _ask(wanted: EmbeddingsBody, call: Call) -> Ask:
    value: Any = wanted.input
    if isinstance(value, str):
        return Ask([value], (), wanted.truncate, None, call.lane)
    if isinstance(value[0], str):
        return Ask(value, (), wanted.truncate, None, call.lane)
    rows = [value] if isinstance(value[0], int) else value
    return Ask((), rows, wanted.truncate, None, call.lane)
