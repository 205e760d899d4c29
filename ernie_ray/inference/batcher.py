"""Share one model between concurrent requests: one queue, batches cut whenever a slot is free.

Pure asyncio: knows neither Ray nor HTTP. There is no timer: a free slot takes what waits at once,
and batches grow only while every slot is busy. Tokenizing and the forward run in threads.

Dimension key: N texts of a request, H numbers per vector, C task outputs.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import (
    ConfigError,
    InferenceError,
    OverloadedError,
    RequestTooLargeError,
    TextTooLongError,
)
from ernie_ray.inference.batch_run import RowResult, run_batch
from ernie_ray.inference.grouping import BatchLimits, choose_batch
from ernie_ray.inference.text_model import TextModel
from ernie_ray.text.features import TokenIds
from ernie_ray.text.tokenizer import Text

# Handing work to a thread and back takes 0.1 ms, as long as cutting so many Chinese characters.
_MAX_CHARACTERS_IN_PLACE = 128
_MAX_RETRY_AFTER_S = 60.0


@dataclass(frozen=True)
class Answers:
    """What one request gets.

    Attributes:
        vectors: Before any scaling, float32 [N, H]; the rows of failed texts are zero.
        logits: Raw task outputs, float32 [N, C], or [N, T, C] padded at the end for a task that
            answers per token; None without a head. Failed rows are zero.
        errors: The failed texts by position.
        queue_s: Seconds from the call until the first of its texts ran.
        forward_s: Seconds from then until its last text was done.
    """

    vectors: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    errors: Mapping[int, InferenceError]
    queue_s: float
    forward_s: float


class Batcher:
    """Batches the rows of concurrent requests through one ``TextModel``.

    All methods but the constructor must be called on one event loop.
    """

    def __init__(self, model: TextModel, limits: BatchLimits | None = None) -> None:
        """Wrap a model.

        Args:
            model: Its ``tokenize`` and ``forward`` are called from threads.
            limits: Bounds; the defaults fit a CPU.

        Raises:
            ConfigError: A batch could not hold the model's longest text.
        """
        self.limits = limits or BatchLimits()
        self._max_tokens = model.manifest.input.max_tokens
        if self.limits.max_batch_tokens < self._max_tokens:
            raise ConfigError(
                f"max_batch_tokens={self.limits.max_batch_tokens} cannot hold one text of "
                f"{self._max_tokens} tokens; set it to {self._max_tokens} or more"
            )
        self._model = model
        self._waiting: OrderedDict[_Entry, None] = OrderedDict()
        self._num_queued_tokens = 0
        self._num_running = 0
        self._tokens_per_s = 0.0  # of one slot, a moving mean; 0 until the first batch is done
        self._is_closing = False
        self._is_wake_up_planned = False
        self._drained = asyncio.Event()
        self._engine_threads = ThreadPoolExecutor(self.limits.num_slots, "forward")
        self._tokenizer_threads = ThreadPoolExecutor(2, "tokenize")

    @property
    def num_queued_tokens(self) -> int:
        """Tokens that wait and are in no batch yet."""
        return self._num_queued_tokens

    async def tokenize(self, texts: Sequence[Text]) -> list[TokenIds]:
        """Cut texts into token ids, in a thread unless that would take longer."""
        if sum(_num_characters(text) for text in texts) <= _MAX_CHARACTERS_IN_PLACE:
            return self._model.tokenize(texts)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokenizer_threads, self._model.tokenize, texts)

    async def infer(self, rows: Sequence[TokenIds]) -> Answers:
        """Run rows through the model, in as many batches as needed.

        If the calling task is cancelled, rows that still wait leave the queue.

        Args:
            rows: At least one, each at most ``manifest.input.max_tokens`` long.

        Returns:
            One answer per row, in order; texts that failed are in ``errors``.

        Raises:
            TextTooLongError: A row is longer than the model takes.
            RequestTooLargeError: The rows would never fit the queue.
            OverloadedError: They do not fit now, or the batcher is closing.
        """
        self._admit(rows)
        request = _Request(len(rows), asyncio.get_running_loop().create_future())
        entries = [_Entry(request, i, row) for i, row in enumerate(rows)]
        for entry in entries:
            self._waiting[entry] = None
            self._num_queued_tokens += entry.num_tokens
        self._plan_wake_up()
        try:
            await request.done
        except asyncio.CancelledError:
            for entry in entries:
                self._leave_queue(entry)
            raise
        return request.answers(self._model)

    async def close(self) -> None:
        """Refuse new requests, finish those inside, and end the threads."""
        self._is_closing = True
        self._report_drained()
        await self._drained.wait()
        self._engine_threads.shutdown(wait=False)
        self._tokenizer_threads.shutdown(wait=False)

    def _admit(self, rows: Sequence[TokenIds]) -> None:
        num_tokens = sum(len(row) for row in rows)
        longest = max(range(len(rows)), key=lambda i: len(rows[i]))
        if len(rows[longest]) > self._max_tokens:
            raise TextTooLongError(
                f"text {longest} has {len(rows[longest])} tokens; "
                f"the model takes {self._max_tokens}"
            )
        max_queue_tokens = self.limits.max_queue_tokens
        if num_tokens > max_queue_tokens:
            raise RequestTooLargeError(
                f"the texts have {num_tokens} tokens together, the queue holds "
                f"{max_queue_tokens}; send them in several requests"
            )
        if self._is_closing:
            raise OverloadedError("the service is shutting down; send the request again")
        if self._num_queued_tokens + num_tokens > max_queue_tokens:
            retry_after_s = self._seconds_to_drain()
            raise OverloadedError(
                f"{self._num_queued_tokens} tokens are waiting and the queue holds "
                f"{max_queue_tokens}; try again in {retry_after_s:.1f} s",
                retry_after_s=retry_after_s,
            )

    def _seconds_to_drain(self) -> float:
        if not self._tokens_per_s:
            return 1.0
        seconds = self._num_queued_tokens / (self._tokens_per_s * self.limits.num_slots)
        return min(max(seconds, 0.1), _MAX_RETRY_AFTER_S)

    def _plan_wake_up(self) -> None:
        # Not at once but after the other events of this turn of the loop: requests that arrived
        # together share a batch, at no cost in time.
        if not self._is_wake_up_planned and self._num_running < self.limits.num_slots:
            self._is_wake_up_planned = True
            asyncio.get_running_loop().call_soon(self._fill_slots)

    def _fill_slots(self) -> None:
        self._is_wake_up_planned = False
        while self._waiting and self._num_running < self.limits.num_slots:
            self._num_running += 1
            batch = self._take_batch()
            loop = asyncio.get_running_loop()
            rows = [entry.row for entry in batch]
            started_s = time.monotonic()
            for entry in batch:
                entry.request.start(started_s)
            running = loop.run_in_executor(self._engine_threads, run_batch, self._model, rows)
            running.add_done_callback(partial(self._finish, batch, started_s))

    def _take_batch(self) -> list[_Entry]:
        window = list(islice(self._waiting, self.limits.window_texts))
        chosen = choose_batch(
            [entry.num_tokens for entry in window],
            [entry.num_overtakes for entry in window],
            self.limits,
        )
        batch = [window[i] for i in chosen]
        for entry in batch:
            self._leave_queue(entry)
        for entry in window[: chosen[-1]]:
            entry.num_overtakes += 1  # of those just taken, too, where it no longer matters
        return batch

    def _finish(
        self, batch: list[_Entry], started_s: float, done: asyncio.Future[list[RowResult]]
    ) -> None:
        self._num_running -= 1
        now_s = time.monotonic()
        rate = sum(entry.num_tokens for entry in batch) / max(now_s - started_s, 1e-6)
        self._tokens_per_s = 0.8 * self._tokens_per_s + 0.2 * rate if self._tokens_per_s else rate
        self._fill_slots()  # first: the engine should not wait for the answers' bookkeeping
        for entry, result in zip(batch, done.result(), strict=True):
            entry.request.take(entry.index, result, now_s)
        self._report_drained()

    def _leave_queue(self, entry: _Entry) -> None:
        if entry in self._waiting:
            del self._waiting[entry]
            self._num_queued_tokens -= entry.num_tokens
            self._report_drained()

    def _report_drained(self) -> None:
        if self._is_closing and not self._waiting and not self._num_running:
            self._drained.set()


def _num_characters(text: Text) -> int:
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


class _Request:
    """Gathers the answers of one call, which may come from several batches."""

    __slots__ = ("_asked_s", "_done_s", "_num_open", "_results", "_started_s", "done")

    def __init__(self, num_rows: int, done: asyncio.Future[None]) -> None:
        self.done = done
        self._results: list[RowResult | None] = [None] * num_rows
        self._num_open = num_rows
        self._asked_s = time.monotonic()
        self._started_s = self._done_s = 0.0

    def start(self, now_s: float) -> None:
        self._started_s = self._started_s or now_s

    def take(self, index: int, result: RowResult, now_s: float) -> None:
        self._results[index] = result
        self._num_open -= 1
        if not self._num_open and not self.done.done():
            self._done_s = now_s
            self.done.set_result(None)

    def answers(self, model: TextModel) -> Answers:
        vector_size, num_outputs = model.manifest.vector.size, model.manifest.task.num_outputs
        num_rows = len(self._results)
        vectors = np.zeros((num_rows, vector_size), dtype=np.float32)
        # Per token, each row comes as long as the longest one of the batch that it ran in.
        found = [r[1] for r in self._results if isinstance(r, tuple) and r[1] is not None]
        longest = (max(len(rows) for rows in found),) if found and found[0].ndim == 2 else ()
        shape = (num_rows, *longest, num_outputs)
        logits = np.zeros(shape, dtype=np.float32) if num_outputs else None
        errors = {}
        for i, result in enumerate(self._results):
            if isinstance(result, InferenceError):
                errors[i] = result
            elif result is not None:
                vectors[i] = result[0]
                if logits is not None and result[1] is not None:
                    logits[i, : len(result[1])] = result[1]
        return Answers(
            vectors, logits, errors, self._started_s - self._asked_s, self._done_s - self._started_s
        )


class _Entry:
    """One waiting row. Compared and hashed by identity."""

    __slots__ = ("index", "num_overtakes", "num_tokens", "request", "row")

    def __init__(self, request: _Request, index: int, row: TokenIds) -> None:
        self.request = request
        self.index = index
        self.row = row
        self.num_tokens = len(row)
        self.num_overtakes = 0
