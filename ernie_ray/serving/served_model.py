"""One served model: texts in, answers out, with every limit checked before the work it bounds.

The core under all dialects: knows neither HTTP, JSON nor any route, and not where the model runs.

Dimension key: N texts, H numbers per vector, C task outputs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ernie_ray.errors import (
    DeadlineError,
    EmptyTextError,
    ErnieRayError,
    InferenceError,
    MalformedRequestError,
    RequestTooLargeError,
    TextTooLongError,
    UnsupportedTaskError,
)
from ernie_ray.inference.layer_pooling import POOLER, POOLINGS, VectorChoice
from ernie_ray.modeldir import Manifest
from ernie_ray.serving.args import RequestLimits
from ernie_ray.serving.ask import Ask, Call, Result, Runner
from ernie_ray.serving.scatter import scatter
from ernie_ray.serving.vectors import Vectors, finish
from ernie_ray.tasks import family_of, reads_pairs, refuse_other_form
from ernie_ray.text.tokenizer import Text


class ServedModel:
    """A model under its name."""

    def __init__(
        self,
        runner: Runner,
        *,
        name: str | None = None,
        limits: RequestLimits | None = None,
        layers: Sequence[str] = (),
    ) -> None:
        """Wrap a runner.

        Args:
            runner: Answers for the model.
            name: Name in requests; the manifest's by default.
            limits: Bounds of one request.
            layers: Names of the layers whose token states the engine exposes.
        """
        self.runner = runner
        self.manifest = runner.manifest
        self.name = name or self.manifest.name
        self.limits = limits or RequestLimits()
        self._exposed = tuple(layers)
        self._family = family_of(self.manifest.task)
        self._reads_pairs = reads_pairs(self.manifest)

    async def run(self, ask: Ask, call: Call) -> Result:
        """Answer texts, pairs or token ids.

        A text that is empty, too long or that fails in the engine is an error of that text; if all
        texts fail, the first error is raised.

        Raises:
            RequestError: The request as a whole is wrong.
            OverloadedError: The queue is full.
            DeadlineError: The time was over first.
        """
        num_texts = len(ask.texts) or len(ask.token_ids)
        self._check_count(num_texts)
        refused: dict[int, ErnieRayError] = {}
        shortened: set[int] = set()
        if ask.token_ids:
            self._check_ids(ask)
        else:
            if self._reads_pairs is not None:
                refuse_other_form(ask.texts, self.manifest.task, self._reads_pairs)
            ask, refused, shortened = self._checked_texts(ask)
        if len(refused) == num_texts:
            raise refused[0]
        try:
            async with asyncio.timeout(call.timeout_s):
                result = await self.runner.run(ask)
        except TextTooLongError as error:  # every other text is too long
            raise refused.get(0, error) from None
        except TimeoutError:
            raise DeadlineError(
                f"no answer within {call.timeout_s * 1e3:.0f} ms; send less, or allow more with "
                f"x-request-timeout-ms (at most {self.limits.max_timeout_ms})"
            ) from None
        if refused:
            result = scatter(result, refused, num_texts)
        if len(result.errors) == num_texts:
            raise result.errors[0]
        if shortened:
            cut = sorted({*result.truncated, *(shortened - result.errors.keys())})
            result = replace(result, truncated=cut)
        return result

    def choose(self, pooling: str | None, layers: Sequence[int] | None) -> VectorChoice | None:
        """Turn a request's pooling and layers into a choice; None: the model's own vector.

        Args:
            pooling: One of ``POOLINGS``, or ``POOLER`` for a model that has one.
            layers: 1 is the first layer's output, -1 the last one's.

        Raises:
            MalformedRequestError: No such pooling or layer.
            UnsupportedTaskError: The service does not expose the layer.
        """
        own = self.manifest.vector.pooling
        if layers is None and pooling in (None, own):
            return None
        if pooling == POOLER:
            return self._pooler_choice(layers)
        if pooling is None and own in POOLINGS:
            pooling = str(own)
        if pooling not in POOLINGS:
            known = ", ".join((*POOLINGS, POOLER))
            raise MalformedRequestError(f'"pooling" must be one of {known}')
        layers = [-1] if layers is None else layers
        if len(layers) > self.limits.max_layers:
            raise MalformedRequestError(f'"layers": send at most {self.limits.max_layers}')
        nodes = tuple(self._node(layer) for layer in layers)
        if len(set(nodes)) < len(nodes):
            raise MalformedRequestError('"layers" must name each layer once')
        return VectorChoice(pooling, nodes)

    def vectors(
        self, result: Result, *, normalize: bool | None = None, dimensions: int | None = None
    ) -> Vectors:
        """Vectors of a result, cut and scaled as asked.

        Args:
            result: Gives [N, H], or N arrays [tokens, H].
            normalize: Scale each to length 1; by default as the manifest says.
            dimensions: Keep the first so many numbers, then scale.

        Raises:
            MalformedRequestError: More dimensions than the vectors have.
            RequestTooLargeError: The reply would be larger than the limit.
        """
        size = result.vectors[0].shape[-1]
        if dimensions is not None and not 0 < dimensions <= size:
            raise MalformedRequestError(f"dimensions={dimensions}: choose 1 to {size}")
        num_numbers = sum(one.size // size for one in result.vectors) * (dimensions or size)
        if num_numbers > self.limits.max_reply_numbers:
            raise RequestTooLargeError(
                f"the reply would hold {num_numbers} numbers, at most "
                f"{self.limits.max_reply_numbers} are sent; ask for fewer texts or layers"
            )
        own = self.manifest.vector.normalize
        return finish(
            result.vectors, normalize=own if normalize is None else normalize, dimensions=dimensions
        )

    def scores(self, result: Result) -> list[dict[str, Any] | None]:
        """Task results, None for failed texts.

        Raises:
            UnsupportedTaskError: The model has no head.
        """
        self.require_head()
        if result.logits is None:
            raise InferenceError("the model gave no logits although its task has outputs")
        scores: list[dict[str, Any] | None] = list(self._family.decode(result.logits, result.rows))
        for i in result.errors:
            scores[i] = None
        return scores

    def require_head(self) -> None:
        """Raise UnsupportedTaskError if the model gives vectors only."""
        if not self.manifest.task.num_outputs:
            raise UnsupportedTaskError(
                f'model "{self.name}" has no head and gives vectors only; use /v1/vectors'
            )

    def describe(self) -> dict[str, Any]:
        """What /v1/models tells: task, labels, limits, lineage."""
        manifest = self.manifest
        return {
            "fingerprint": manifest.fingerprint,
            "task": manifest.task.model_dump(mode="json"),
            "vector": {
                **manifest.vector.model_dump(mode="json"),
                "num_layers": len(manifest.layer_nodes),
                "layers": [manifest.layer_nodes.index(node) + 1 for node in self._exposed],
            },
            "limits": {
                "max_tokens": manifest.input.max_tokens,
                "max_queue_tokens": self.runner.max_queue_tokens,
                **self.limits.model_dump(),
            },
            # Not the recipe: it may name paths of the machine that trained the model.
            "lineage": manifest.lineage.model_dump(mode="json", exclude={"recipe"}),
            "metrics": manifest.metrics,
        }

    def _pooler_choice(self, layers: Sequence[int] | None) -> VectorChoice:
        if layers not in (None, [-1], [len(self.manifest.layer_nodes)]):
            raise MalformedRequestError(
                '"pooling": "pooler" reads the last layer; leave out layers'
            )
        if not getattr(self.manifest.network, "has_pooler", False):
            raise UnsupportedTaskError(f'"{self.name}" has no pooler; choose another "pooling"')
        self._node(-1)
        return VectorChoice("cls", (POOLER,))

    def _node(self, layer: int) -> str:
        node = layer_node(self.manifest, layer)
        if node is None:
            raise MalformedRequestError(
                f"layer {layer}: choose 1 to {len(self.manifest.layer_nodes)}, or -1 for the last"
            )
        if node not in self._exposed:
            shown = [str(self.manifest.layer_nodes.index(one) + 1) for one in self._exposed]
            raise UnsupportedTaskError(
                f'layer {layer} of "{self.name}" is not exposed (exposed: '
                f"{', '.join(shown) or 'none'}); the service must be started with it under "
                "models[].layers"
            )
        return node

    def _check_count(self, num_texts: int) -> None:
        if num_texts > self.limits.max_texts:
            raise RequestTooLargeError(
                f"{num_texts} texts in one request; send at most {self.limits.max_texts}"
            )

    def _checked_texts(self, ask: Ask) -> tuple[Ask, dict[int, ErnieRayError], set[int]]:
        """Refuse texts, and cut those that have too many characters; gives the places of both."""
        texts: dict[int, Text] = {}
        refused: dict[int, ErnieRayError] = {}
        for i, text in enumerate(ask.texts):
            try:
                texts[i] = self._checked(i, text, ask.truncate)
            except ErnieRayError as error:
                refused[i] = error
        shortened = {i for i, text in texts.items() if text != ask.texts[i]}
        places = tuple(texts) if refused else ()
        return replace(ask, texts=list(texts.values()), places=places), refused, shortened

    def _checked(self, index: int, text: Text, truncate: bool) -> Text:
        if not isinstance(text, str):
            first, second = (self._checked(index, part, truncate) for part in text)
            return str(first), str(second)
        limit = self.limits.max_text_characters
        if len(text) > limit:
            if not truncate:
                raise TextTooLongError(
                    f"text {index} has {len(text)} characters; send at most {limit} "
                    'or "truncate": true'
                )
            text = text[:limit]
        if not text or text.isspace():
            raise EmptyTextError(f"text {index} is empty; send at least one visible character")
        return text

    def _check_ids(self, ask: Ask) -> None:
        if self._family.is_per_token or self._reads_pairs:
            # Ids say neither where a text is cut into windows nor where its second text begins.
            raise MalformedRequestError(f'"{self.name}" takes no token ids; send the texts')
        max_tokens = self.manifest.input.max_tokens
        vocab_size = self.manifest.network.vocab_size
        for i, ids in enumerate(ask.token_ids):
            if not ids:
                raise EmptyTextError(f"text {i} has no tokens; send at least one")
            if len(ids) > max_tokens:
                raise TextTooLongError(
                    f"text {i} has {len(ids)} tokens; the model takes {max_tokens}"
                )
            if min(ids) < 0 or max(ids) >= vocab_size:
                raise MalformedRequestError(
                    f"text {i} has token ids outside of this model's vocabulary "
                    f"(0 to {vocab_size - 1}); send the text itself"
                )


def layer_node(manifest: Manifest, layer: int) -> str | None:
    """Name of a layer's output in the graphs.

    Args:
        manifest: Lists the layers.
        layer: 1 for the first layer, -1 for the last.

    Returns:
        Its name; None if the model has no such layer.
    """
    names = manifest.layer_nodes
    if not 1 <= abs(layer) <= len(names):
        return None
    return names[layer - 1 if layer > 0 else layer]
