"""What one request asks of a model, and what it gets: the core's words, free of any dialect.

Both are plain data: a model in another replica gets and gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import ErnieRayError
from ernie_ray.inference.lane_queue import Lane
from ernie_ray.inference.layer_pooling import VectorChoice
from ernie_ray.modeldir import Manifest
from ernie_ray.text.features import TokenIds
from ernie_ray.text.tokenizer import Text


@dataclass(frozen=True, slots=True)
class Call:
    """What a request says beside its body, the same in every dialect.

    Attributes:
        timeout_s: Seconds until the answer is worth nothing; never above the service's own limit.
        lane: How urgent it is.
        request_id: Names the request in logs and replies.
    """

    timeout_s: float
    lane: Lane = Lane.INTERACTIVE
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Texts (or token ids) that passed every check, and what to do with them.

    Attributes:
        texts: Single texts or pairs; empty if there are token ids.
        token_ids: Rows of the model's own vocabulary, special tokens included.
        truncate: Cut texts that are too long instead of refusing them.
        choice: Which vectors to give; None: the model's own.
        lane: How urgent it is.
        places: Of the texts in the request, if some of it were refused before; for messages.
    """

    texts: Sequence[Text] = ()
    token_ids: Sequence[Sequence[int]] = ()
    truncate: bool = False
    choice: VectorChoice | None = None
    lane: Lane = Lane.INTERACTIVE
    places: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The answers to one request and what they cost. N texts.

    Attributes:
        vectors: Before scaling, float32 [N, H], zero where a text failed; for token vectors a list
            of N arrays [tokens, H].
        logits: Raw task outputs, float32 [N, C]; None without a head.
        errors: Texts that failed, by position.
        num_tokens: Tokens of all texts, special tokens included.
        truncated: Positions of texts that were cut to the model's limit.
        fingerprint: Of the model that answered.
        tokenize_s: Seconds spent on cutting texts into tokens.
        queue_s: Seconds until the first text ran.
        forward_s: Seconds from then until the last was done.
        rows: What the logits are of, where that is not one row a text: the windows of all texts,
            for a task that answers per token; a refused text has an empty one.
    """

    vectors: NDArray[np.float32] | list[NDArray[np.float32]]
    logits: NDArray[np.float32] | None
    errors: Mapping[int, ErnieRayError]
    num_tokens: int
    truncated: Sequence[int]
    fingerprint: str
    tokenize_s: float = 0.0
    queue_s: float = 0.0
    forward_s: float = 0.0
    rows: Sequence[TokenIds] = ()

    @property
    def num_texts(self) -> int:
        """N."""
        return len(self.vectors)


class Runner(Protocol):
    """Answers asks for one model: in this process, or in another replica."""

    @property
    def manifest(self) -> Manifest:
        """Task, labels, lengths and lineage."""

    @property
    def max_queue_tokens(self) -> int:
        """Tokens that may wait in one replica."""

    async def run(self, ask: Ask) -> Result:
        """Answer an ask; cancelling the call takes its texts out of the queue.

        Raises:
            OverloadedError: The queue is full.
            RequestTooLargeError: The texts would never fit the queue.
        """

    async def check(self) -> None:
        """Run a real forward past the queue; raises whatever a broken engine raises."""

    async def close(self) -> None:
        """Finish what is inside."""
