"""Our own dialect: /v1/vectors, /v1/scores and /v1/infer (both from one forward).

Texts that fail inside a request are `null` in place and listed under `errors`; a request whose
texts all fail is an error itself.
"""

from __future__ import annotations

from typing import Any

from ernie_ray.errors import MalformedRequestError
from ernie_ray.serving.ask import Ask, Call, Result
from ernie_ray.serving.bodies import ScoresBody, VectorsBody, parse_body
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.reply import Reply, answer_reply, problem_of
from ernie_ray.serving.served_model import ServedModel
from ernie_ray.serving.vectors import encode


class OwnRoutes:
    """Handlers of our own routes: body bytes in, reply out."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def vectors(self, body: bytes, call: Call) -> Reply:
        """POST /v1/vectors."""
        wanted = parse_body(VectorsBody, body)
        model = self._catalog.pick(wanted.model)
        result = await model.run(_vectors_ask(model, wanted, call), call)
        return _reply(model, result, _vectors(model, result, wanted))

    async def scores(self, body: bytes, call: Call) -> Reply:
        """POST /v1/scores."""
        wanted = parse_body(ScoresBody, body)
        model = self._catalog.pick(wanted.model)
        model.require_head()
        result = await model.run(_ask(wanted, call), call)
        return _reply(model, result, {"scores": model.scores(result)})

    async def infer(self, body: bytes, call: Call) -> Reply:
        """POST /v1/infer: vectors and scores from one forward."""
        wanted = parse_body(VectorsBody, body)
        model = self._catalog.pick(wanted.model)
        model.require_head()
        result = await model.run(_vectors_ask(model, wanted, call), call)
        content = {**_vectors(model, result, wanted), "scores": model.scores(result)}
        return _reply(model, result, content)


def _vectors_ask(model: ServedModel, wanted: VectorsBody, call: Call) -> Ask:
    choice = None
    if wanted.pooling is not None or wanted.layers is not None:
        choice = model.choose(wanted.pooling, wanted.layers)
    return _ask(wanted, call, choice)


def _ask(wanted: ScoresBody, call: Call, choice: Any = None) -> Ask:
    if (wanted.texts is None) == (wanted.token_ids is None):
        raise MalformedRequestError('send either "texts" or "token_ids"')
    texts = [wanted.texts] if isinstance(wanted.texts, str) else wanted.texts or ()
    return Ask(texts, wanted.token_ids or (), wanted.truncate, choice, call.lane)


def _vectors(model: ServedModel, result: Result, wanted: VectorsBody) -> dict[str, Any]:
    vectors = model.vectors(result, normalize=wanted.normalize, dimensions=wanted.dimensions)
    encoded = encode(vectors, as_base64=wanted.encoding == "base64", failed=sorted(result.errors))
    return {"dimensions": vectors[0].shape[-1], "vectors": encoded}


def _reply(model: ServedModel, result: Result, content: dict[str, Any]) -> Reply:
    errors = []
    for i, error in sorted(result.errors.items()):
        problem = problem_of(error)
        errors.append({"index": i, "type": problem.type, "message": problem.message})
    whole = {
        "model": model.name,
        "fingerprint": result.fingerprint,
        **content,
        "errors": errors,
        "truncated": result.truncated,
        "usage": {"num_tokens": result.num_tokens},
    }
    return answer_reply(whole, model.name, result)
