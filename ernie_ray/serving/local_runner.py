"""A model of this process behind the ``Runner`` interface: tokenizer, queue, engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ernie_ray.errors import ErnieRayError, InferenceError, TextTooLongError
from ernie_ray.inference.answers import Answers
from ernie_ray.inference.batch_run import run_batch
from ernie_ray.inference.batcher import BatchDone, Batcher
from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.inference.lane_queue import Lane
from ernie_ray.inference.text_answers import answers_of_texts
from ernie_ray.inference.text_model import TextModel
from ernie_ray.modeldir import EncoderConfig, Manifest, ReadingSpec
from ernie_ray.serving.ask import Ask, Result
from ernie_ray.serving.scatter import scatter
from ernie_ray.tasks import reads_pairs
from ernie_ray.text.features import TokenIds, rows_of_texts
from ernie_ray.text.tokenizer import Text


class LocalRunner:
    """Runs asks through a batcher of its own."""

    def __init__(
        self,
        model: TextModel,
        batching: BatchLimits | None = None,
        on_batch: Callable[[BatchDone], None] | None = None,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: Loaded and verified.
            batching: Bounds of its queue and batches.
            on_batch: Called after each batch.
        """
        self.model = model
        self.batcher = Batcher(model, batching, on_batch)
        self._takes_pairs = reads_pairs(model.manifest) is True

    @property
    def manifest(self) -> Manifest:
        """Task, labels, lengths and lineage."""
        return self.model.manifest

    @property
    def max_queue_tokens(self) -> int:
        """Tokens that may wait."""
        return self.batcher.limits.max_queue_tokens

    async def run(self, ask: Ask) -> Result:
        """Answer an ask; see ``Runner.run``."""
        started_s = time.monotonic()
        if ask.token_ids:
            rows = [TokenIds(ids, [0] * len(ids)) for ids in ask.token_ids]
        else:
            rows = await self.batcher.tokenize(ask.texts)
        tokenize_s = time.monotonic() - started_s
        groups = rows_of_texts(rows)
        truncated = [i for i, g in enumerate(groups) if any(rows[k].is_truncated for k in g)]
        too_long: dict[int, ErnieRayError] = {}
        if truncated and not ask.truncate:
            places = ask.places or range(len(groups))
            too_long = {i: self._too_long(places[i]) for i in truncated}
            if len(too_long) == len(groups):
                raise too_long[0]
            truncated = []
        run = [rows[k] for i, group in enumerate(groups) if i not in too_long for k in group]
        answers = answers_of_texts(await self._infer(run, ask), run)
        result = Result(
            answers.vectors,
            answers.logits,
            answers.errors,
            sum(map(len, rows)),
            truncated,
            self.model.fingerprint,
            tokenize_s,
            answers.queue_s,
            answers.forward_s,
            run if self.manifest.task.is_per_token else (),
        )
        return scatter(result, too_long, len(groups)) if too_long else result

    async def check(self) -> None:
        """Run a real forward past the queue."""
        text: Text = ("health", "health") if self._takes_pairs else "health"
        await self._forward(await asyncio.to_thread(self.model.tokenize, [text]))

    async def warm_up(self) -> None:
        """Run the largest batch that may come, so that memory and kernels are there before it."""
        num_tokens = self.manifest.input.max_tokens
        row = TokenIds([self.manifest.input.pad_token_id] * num_tokens, [0] * num_tokens)
        await self._forward([row] * (self.batcher.limits.max_batch_tokens // num_tokens))

    async def close(self) -> None:
        """Finish what is inside."""
        await self.batcher.close()

    async def _forward(self, rows: list[TokenIds]) -> None:
        for result in await asyncio.to_thread(run_batch, self.model, rows, [None] * len(rows)):
            if isinstance(result, InferenceError):
                raise result

    async def _infer(self, rows: list[TokenIds], ask: Ask) -> Answers:
        # More than one batch's worth is bulk whatever the client says: it must not hold back
        # those who wait for one text.
        is_big = sum(map(len, rows)) > self.batcher.limits.max_batch_tokens
        lane = Lane.BULK if is_big else ask.lane
        return await self.batcher.infer(rows, lane=lane, choice=ask.choice)

    def _too_long(self, index: int) -> TextTooLongError:
        limit, task = self.manifest.input.max_tokens, self.manifest.task
        problem = f"text {index} has more than {limit} tokens"
        if isinstance(task, ReadingSpec):
            problem = f"the question of text {index} exceeds its half of a window of {limit} tokens"
        elif not isinstance(self.manifest.network, EncoderConfig) and self._takes_pairs:
            problem = (
                f"one text of pair {index} has more than {limit // 2} tokens, its half of {limit}"
            )
        return TextTooLongError(f'{problem}; shorten it or send "truncate": true')
