"""Share one model between concurrent requests: one queue, batches cut whenever a slot is free.

Pure asyncio: knows neither Ray nor HTTP. There is no timer: a free slot takes what waits at once,
and batches grow only while every slot is busy, up to what the engine does in `max_batch_s`.
Tokenizing and the forward run in threads. A request that is cancelled, or whose time is over,
leaves the queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ernie_ray.errors import (
    ConfigError,
    InferenceError,
    OverloadedError,
    RequestTooLargeError,
    TextTooLongError,
    UnavailableError,
)
from ernie_ray.inference.answers import Answers, PendingAnswers
from ernie_ray.inference.batch_run import RowResult, run_batch
from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.inference.lane_queue import Entry, Lane, LaneQueue
from ernie_ray.inference.layer_pooling import VectorChoice
from ernie_ray.inference.pace import Pace
from ernie_ray.inference.text_model import TextModel
from ernie_ray.text.features import TokenIds
from ernie_ray.text.tokenizer import Text

# Handing work to a thread and back takes 0.1 ms, as long as cutting so many Chinese characters.
_MAX_CHARACTERS_IN_PLACE = 128
_NUM_TOKENIZER_THREADS = 2
_MAX_RETRY_AFTER_S = 60.0
# A token has 1 (Chinese) to 5 (English) characters; this bounds the texts that wait to be cut.
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class BatchDone:
    """What one batch was, for whoever counts.

    Attributes:
        num_texts: Texts in it.
        num_tokens: Their tokens.
        num_padded_tokens: Longest text times texts: what the engine computed.
        wait_s: Seconds that the one who came first had waited.
        forward_s: Seconds in the engine.
    """

    num_texts: int
    num_tokens: int
    num_padded_tokens: int
    wait_s: float
    forward_s: float


class Batcher:
    """Batches the rows of concurrent requests through one ``TextModel``.

    All methods but the constructor must be called on one event loop.
    """

    def __init__(
        self,
        model: TextModel,
        limits: BatchLimits | None = None,
        on_batch: Callable[[BatchDone], None] | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            model: Its ``tokenize`` and ``forward`` are called from threads.
            limits: Bounds; the defaults fit a CPU.
            on_batch: Called on the event loop after each batch.

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
        self._on_batch = on_batch
        self._queue = LaneQueue(self.limits)
        self._num_characters = 0  # handed to the tokenizer threads and not back yet
        self._num_running = 0
        self._busy_s = 0.0
        self._pace = Pace()
        self._is_closing = False
        self._is_wake_up_planned = False
        self._drained = asyncio.Event()
        self._engine_threads = ThreadPoolExecutor(self.limits.num_slots, "forward")
        self._tokenizer_threads = ThreadPoolExecutor(_NUM_TOKENIZER_THREADS, "tokenize")

    @property
    def num_queued_tokens(self) -> int:
        """Tokens that wait and are in no batch yet."""
        return self._queue.num_tokens

    @property
    def num_queued_texts(self) -> int:
        """Texts that wait and are in no batch yet."""
        return len(self._queue)

    @property
    def busy_s(self) -> float:
        """Seconds that batches spent in the engine, summed over slots, since the start."""
        return self._busy_s

    @property
    def tokens_per_s(self) -> float:
        """Padded tokens a second of all slots together; 0 before the first batch."""
        return self._pace.tokens_per_s * self.limits.num_slots

    async def tokenize(self, texts: Sequence[Text]) -> list[TokenIds]:
        """Cut texts into token ids, in a thread unless that would take longer.

        Raises:
            OverloadedError: The queue is full, or too much text waits to be cut.
        """
        # Before any work: a replica that refuses must spend next to nothing on it.
        self._refuse_if_full(1)
        num_characters = sum(_num_characters(text) for text in texts)
        if num_characters <= _MAX_CHARACTERS_IN_PLACE:
            return self._model.tokenize(texts)
        if self._num_characters and (
            self._num_characters + num_characters
            > self.limits.max_queue_tokens * _CHARACTERS_PER_TOKEN
        ):
            raise OverloadedError(
                f"{self._num_characters} characters wait to be tokenized; try again in 1 s"
            )
        self._num_characters += num_characters
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._tokenizer_threads, self._model.tokenize, texts)
        finally:
            self._num_characters -= num_characters

    async def infer(
        self,
        rows: Sequence[TokenIds],
        *,
        lane: Lane = Lane.INTERACTIVE,
        choice: VectorChoice | None = None,
    ) -> Answers:
        """Run rows through the model, in as many batches as needed.

        If the calling task is cancelled, rows that still wait leave the queue.

        Args:
            rows: At least one, each at most ``manifest.input.max_tokens`` long.
            lane: How urgent they are.
            choice: Which vectors to give; None: the model's own.

        Returns:
            One answer per row, in order; texts that failed are in ``errors``.

        Raises:
            TextTooLongError: A row is longer than the model takes.
            RequestTooLargeError: The rows would never fit the queue.
            OverloadedError: They do not fit now.
            UnavailableError: The batcher is closing.
        """
        self._admit(rows)
        pending = PendingAnswers(rows, choice, asyncio.get_running_loop().create_future())
        entries = [Entry(pending, i, len(row), lane) for i, row in enumerate(rows)]
        self._queue.push(entries, time.monotonic())
        self._plan_wake_up()
        try:
            await pending.done
        except asyncio.CancelledError:
            for entry in entries:
                self._queue.discard(entry)
            self._report_drained()
            raise
        manifest = self._model.manifest
        size = manifest.vector.size if choice is None else choice.size(manifest.network.hidden_size)
        return pending.gather(size, manifest.task.num_outputs)

    async def close(self) -> None:
        """Refuse new requests, finish those inside, and end the threads."""
        self._is_closing = True
        self._report_drained()
        await self._drained.wait()
        self._engine_threads.shutdown(wait=False)
        self._tokenizer_threads.shutdown(wait=False)

    def _admit(self, rows: Sequence[TokenIds]) -> None:
        num_tokens = sum(map(len, rows))
        longest = max(map(len, rows))
        if longest > self._max_tokens:
            index = next(i for i, row in enumerate(rows) if len(row) == longest)
            raise TextTooLongError(
                f"text {index} has {longest} tokens; the model takes {self._max_tokens}"
            )
        if num_tokens > self.limits.max_queue_tokens:
            raise RequestTooLargeError(
                f"the texts have {num_tokens} tokens together, the queue holds "
                f"{self.limits.max_queue_tokens}; send them in several requests"
            )
        self._refuse_if_full(num_tokens)

    def _refuse_if_full(self, num_tokens: int) -> None:
        if self._is_closing:
            raise UnavailableError("the service is shutting down; send the request again")
        max_queue_tokens = self.limits.max_queue_tokens
        if self._queue.num_tokens + num_tokens > max_queue_tokens:
            retry_after_s = self._seconds_to_drain()
            raise OverloadedError(
                f"{self._queue.num_tokens} tokens are waiting and the queue holds "
                f"{max_queue_tokens}; try again in {retry_after_s:.1f} s",
                retry_after_s=retry_after_s,
            )

    def _seconds_to_drain(self) -> float:
        if not self.tokens_per_s:
            return 1.0
        return min(max(self._queue.num_tokens / self.tokens_per_s, 0.1), _MAX_RETRY_AFTER_S)

    def _plan_wake_up(self) -> None:
        # Not at once but after the other events of this turn of the loop: requests that arrived
        # together share a batch, at no cost in time.
        if not self._is_wake_up_planned and self._num_running < self.limits.num_slots:
            self._is_wake_up_planned = True
            asyncio.get_running_loop().call_soon(self._fill_slots)

    def _fill_slots(self) -> None:
        self._is_wake_up_planned = False
        while self._queue and self._num_running < self.limits.num_slots:
            self._num_running += 1
            batch = self._queue.take_batch(self._pace.tokens_in(self.limits.max_batch_s))
            loop = asyncio.get_running_loop()
            rows = [entry.owner.rows[entry.index] for entry in batch]
            choices = [entry.owner.choice for entry in batch]
            started_s = time.monotonic()
            for entry in batch:
                entry.owner.start(started_s)
            run = partial(run_batch, self._model, rows, choices)
            running = loop.run_in_executor(self._engine_threads, run)
            running.add_done_callback(partial(self._finish, batch, started_s))

    def _finish(
        self, batch: list[Entry], started_s: float, done: asyncio.Future[list[RowResult]]
    ) -> None:
        self._num_running -= 1
        now_s = time.monotonic()
        padded = max(entry.num_tokens for entry in batch) * len(batch)
        self._pace.add(padded, now_s - started_s)
        self._busy_s += now_s - started_s
        self._fill_slots()  # first: the engine should not wait for the answers' bookkeeping
        for entry, result in zip(batch, _results(done, len(batch)), strict=True):
            entry.owner.take(entry.index, result, now_s)
        if self._on_batch is not None:
            num_tokens = sum(entry.num_tokens for entry in batch)
            wait_s = started_s - min(entry.owner.asked_s for entry in batch)
            self._on_batch(BatchDone(len(batch), num_tokens, padded, wait_s, now_s - started_s))
        self._report_drained()

    def _report_drained(self) -> None:
        if self._is_closing and not self._queue and not self._num_running:
            self._drained.set()


def _results(done: asyncio.Future[list[RowResult]], num_rows: int) -> list[RowResult]:
    # run_batch turns what engines raise into results; this is for what stands beyond it, so that
    # even then nobody waits for ever.
    error = None if done.cancelled() else done.exception()
    if error is None and not done.cancelled():
        return done.result()
    return [InferenceError(f"the engine's thread ended: {error!r}")] * num_rows


def _num_characters(text: Text) -> int:
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
