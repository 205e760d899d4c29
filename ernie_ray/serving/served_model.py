"""One served model: texts in, answers out, with every limit checked before the work it bounds.

The core under all dialects: knows neither HTTP, JSON nor any route.

Dimension key: N texts, H numbers per vector, C task outputs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import (
    EmptyTextError,
    InferenceError,
    MalformedRequestError,
    RequestTooLargeError,
    TextTooLongError,
    UnsupportedTaskError,
)
from ernie_ray.inference.batcher import Answers, Batcher
from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.inference.text_answers import answers_of_texts
from ernie_ray.inference.text_model import TextModel
from ernie_ray.serving.args import RequestLimits
from ernie_ray.text.features import TokenIds, rows_of_texts
from ernie_ray.text.tokenizer import Text


@dataclass(frozen=True)
class Result:
    """The answers to one request and what they cost.

    Attributes:
        answers: Raw vectors and logits, and the errors of single texts.
        num_tokens: Tokens of all texts, special tokens included.
        truncated: Positions of texts that were cut to the model's limit.
        tokenize_s: Seconds spent on cutting texts into tokens.
        rows: What the logits are of: the texts cut into tokens, long ones perhaps into several.
    """

    answers: Answers
    num_tokens: int
    truncated: list[int]
    tokenize_s: float
    rows: Sequence[TokenIds] = ()


class ServedModel:
    """A model under its name, with its own queue."""

    def __init__(
        self,
        model: TextModel,
        *,
        name: str | None = None,
        limits: RequestLimits | None = None,
        batching: BatchLimits | None = None,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: Loaded and verified.
            name: Name in requests; the manifest's by default.
            limits: Bounds of one request.
            batching: Bounds of the queue.
        """
        self.model = model
        self.name = name or model.manifest.name
        self.fingerprint = model.fingerprint
        self.limits = limits or RequestLimits()
        self.batcher = Batcher(model, batching)
        self._max_tokens = model.manifest.input.max_tokens

    async def run_texts(self, texts: Sequence[Text], *, truncate: bool = False) -> Result:
        """Answer texts or pairs.

        Args:
            texts: At least one.
            truncate: Cut texts that are too long instead of refusing them.

        Raises:
            RequestError: The texts are too many, empty or too long.
            OverloadedError: The queue is full.
        """
        self._check_count(len(texts))
        texts = [self._checked(i, text, truncate) for i, text in enumerate(texts)]
        started_s = time.monotonic()
        rows = await self.batcher.tokenize(texts)
        tokenize_s = time.monotonic() - started_s
        groups = rows_of_texts(rows)
        truncated = [i for i, g in enumerate(groups) if any(rows[k].is_truncated for k in g)]
        if truncated and not truncate:
            raise TextTooLongError(
                f"text {truncated[0]} has more than {self._max_tokens} tokens; "
                'shorten it or send "truncate": true'
            )
        answers = answers_of_texts(await self.batcher.infer(rows), rows)
        return Result(answers, sum(len(row) for row in rows), truncated, tokenize_s, rows)

    async def run_token_ids(self, token_ids: Sequence[Sequence[int]]) -> Result:
        """Answer texts that the client cut itself.

        Args:
            token_ids: Ids of this model's own vocabulary, special tokens included.

        Raises:
            RequestError: They are too many, empty, too long, or not in the vocabulary.
            OverloadedError: The queue is full.
        """
        self._check_count(len(token_ids))
        vocab_size = self.model.manifest.network.vocab_size
        for i, ids in enumerate(token_ids):
            if not ids:
                raise EmptyTextError(f"text {i} has no tokens; send at least one")
            if len(ids) > self._max_tokens:
                raise TextTooLongError(
                    f"text {i} has {len(ids)} tokens; the model takes {self._max_tokens}"
                )
            if min(ids) < 0 or max(ids) >= vocab_size:
                raise MalformedRequestError(
                    f"text {i} has token ids outside of this model's vocabulary "
                    f"(0 to {vocab_size - 1}); send the text itself"
                )
        rows = [TokenIds(ids, [0] * len(ids)) for ids in token_ids]
        answers = await self.batcher.infer(rows)
        return Result(answers, sum(map(len, token_ids)), [], 0.0)

    def vectors(
        self, result: Result, *, normalize: bool | None = None, dimensions: int | None = None
    ) -> NDArray[np.float32]:
        """Vectors of a result, cut and scaled as asked.

        Args:
            result: Gives [N, H].
            normalize: Scale each to length 1; by default as the manifest says.
            dimensions: Keep the first so many numbers, then scale.

        Returns:
            float32 [N, dimensions]; the rows of failed texts are zero.

        Raises:
            MalformedRequestError: More dimensions than the model has.
        """
        vectors = result.answers.vectors
        if dimensions is not None:
            size = self.model.manifest.vector.size
            if not 0 < dimensions <= size:
                raise MalformedRequestError(f"dimensions={dimensions}: choose 1 to {size}")
            vectors = vectors[:, :dimensions]
        if self.model.manifest.vector.normalize if normalize is None else normalize:
            length = np.sqrt(np.einsum("nh,nh->n", vectors, vectors))[:, None]
            vectors = vectors / np.maximum(length, np.finfo(np.float32).tiny)
        return np.ascontiguousarray(vectors)

    def scores(self, result: Result) -> list[dict[str, Any] | None]:
        """Task results, None for failed texts.

        Raises:
            UnsupportedTaskError: The model has no head.
        """
        self.require_head()
        logits = result.answers.logits
        if logits is None:
            raise InferenceError("the model gave no logits although its task has outputs")
        scores: list[dict[str, Any] | None] = list(self.model.decode(logits, result.rows))
        for i in result.answers.errors:
            scores[i] = None
        return scores

    def require_head(self) -> None:
        """Raise UnsupportedTaskError if the model gives vectors only."""
        if not self.model.manifest.task.num_outputs:
            raise UnsupportedTaskError(
                f'model "{self.name}" has no head and gives vectors only; use /v1/vectors'
            )

    def describe(self) -> dict[str, Any]:
        """What /v1/models tells: task, labels, limits, lineage."""
        manifest = self.model.manifest
        return {
            "fingerprint": self.fingerprint,
            "task": manifest.task.model_dump(mode="json"),
            "vector": manifest.vector.model_dump(mode="json"),
            "limits": {
                "max_tokens": self._max_tokens,
                "max_queue_tokens": self.batcher.limits.max_queue_tokens,
                **self.limits.model_dump(),
            },
            # Not the recipe: it may name paths of the machine that trained the model.
            "lineage": manifest.lineage.model_dump(mode="json", exclude={"recipe"}),
            "metrics": manifest.metrics,
        }

    def _check_count(self, num_texts: int) -> None:
        if num_texts > self.limits.max_texts:
            raise RequestTooLargeError(
                f"{num_texts} texts in one request; send at most {self.limits.max_texts}"
            )

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
