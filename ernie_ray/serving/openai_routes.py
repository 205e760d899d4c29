"""The OpenAI dialect: /v1/embeddings, its reply and its error shape.

Token ids are taken as ids of this model's own tokenizer, special tokens included. The dialect has
no errors of single texts: if one fails, the request fails.
"""

from __future__ import annotations

import base64
from typing import Any

from ernie_ray.serving.bodies import EmbeddingsBody, parse_body
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.own_routes import stage_times
from ernie_ray.serving.reply import Problem, Reply, json_reply
from ernie_ray.serving.served_model import Result, ServedModel


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

    async def embeddings(self, body: bytes) -> Reply:
        """POST /v1/embeddings."""
        ask = parse_body(EmbeddingsBody, body)
        model = self._catalog.pick(ask.model)
        result = await _run(model, ask)
        for error in result.answers.errors.values():
            raise error
        vectors = model.vectors(result, dimensions=ask.dimensions)
        if ask.encoding_format == "base64":
            little_endian = vectors.astype("<f4", copy=False)
            encoded: Any = [base64.b64encode(row.tobytes()).decode() for row in little_endian]
        else:
            encoded = vectors
        content = {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": embedding, "index": i}
                for i, embedding in enumerate(encoded)
            ],
            "model": model.name,
            "fingerprint": model.fingerprint,
            "usage": {"prompt_tokens": result.num_tokens, "total_tokens": result.num_tokens},
        }
        return json_reply(content, stage_times(result))


async def _run(model: ServedModel, ask: EmbeddingsBody) -> Result:
    value = ask.input
    if isinstance(value, str):
        return await model.run_texts([value], truncate=ask.truncate)
    if isinstance(value[0], str):
        return await model.run_texts(value, truncate=ask.truncate)
    if isinstance(value[0], int):
        return await model.run_token_ids([value])
    return await model.run_token_ids(value)
