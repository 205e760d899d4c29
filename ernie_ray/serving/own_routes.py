"""Our own dialect: /v1/vectors, /v1/scores and /v1/infer (both from one forward).

Texts that fail inside a request are `null` in place and listed under `errors`; a request whose
texts all fail is an error itself.
"""

from __future__ import annotations

from typing import Any

from ernie_ray.serving.bodies import ScoresBody, VectorsBody, parse_body
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.reply import Header, Reply, json_reply, problem_of
from ernie_ray.serving.served_model import Result, ServedModel
from ernie_ray.text.tokenizer import Text


class OwnRoutes:
    """Handlers of our own routes: body bytes in, reply out."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def vectors(self, body: bytes) -> Reply:
        """POST /v1/vectors."""
        ask = parse_body(VectorsBody, body)
        model = self._catalog.pick(ask.model)
        result = await _run(model, ask)
        return _reply(model, result, {"vectors": _vectors(model, result, ask)})

    async def scores(self, body: bytes) -> Reply:
        """POST /v1/scores."""
        ask = parse_body(ScoresBody, body)
        model = self._catalog.pick(ask.model)
        model.require_head()
        result = await _run(model, ask)
        return _reply(model, result, {"scores": model.scores(result)})

    async def infer(self, body: bytes) -> Reply:
        """POST /v1/infer: vectors and scores from one forward."""
        ask = parse_body(VectorsBody, body)
        model = self._catalog.pick(ask.model)
        model.require_head()
        result = await _run(model, ask)
        content = {"vectors": _vectors(model, result, ask), "scores": model.scores(result)}
        return _reply(model, result, content)


def stage_times(result: Result) -> list[Header]:
    """Milliseconds of each stage as reply headers."""
    answers = result.answers
    return [
        (b"x-tokenize-ms", b"%.2f" % (result.tokenize_s * 1e3)),
        (b"x-queue-ms", b"%.2f" % (answers.queue_s * 1e3)),
        (b"x-forward-ms", b"%.2f" % (answers.forward_s * 1e3)),
    ]


def raise_if_all_failed(result: Result) -> None:
    """Raise the first text's InferenceError if no text was answered."""
    errors = result.answers.errors
    if len(errors) == len(result.answers.vectors):
        raise errors[0]


async def _run(model: ServedModel, ask: ScoresBody) -> Result:
    texts: list[Text] = [ask.texts] if isinstance(ask.texts, str) else list(ask.texts)
    result = await model.run_texts(texts, truncate=ask.truncate)
    raise_if_all_failed(result)
    return result


def _vectors(model: ServedModel, result: Result, ask: VectorsBody) -> Any:
    vectors = model.vectors(result, normalize=ask.normalize)
    errors = result.answers.errors
    if not errors:
        return vectors
    return [None if i in errors else vector for i, vector in enumerate(vectors)]


def _reply(model: ServedModel, result: Result, content: dict[str, Any]) -> Reply:
    errors = []
    for i, error in sorted(result.answers.errors.items()):
        problem = problem_of(error)
        errors.append({"index": i, "type": problem.type, "message": problem.message})
    return json_reply(
        {
            "model": model.name,
            "fingerprint": model.fingerprint,
            **content,
            "errors": errors,
            "truncated": result.truncated,
            "usage": {"num_tokens": result.num_tokens},
        },
        stage_times(result),
    )
