import asyncio
import threading

import pytest

from ernie_ray.errors import (
    ConfigError,
    OverloadedError,
    RequestTooLargeError,
    TextTooLongError,
    UnavailableError,
)
from ernie_ray.inference.batcher import Batcher
from ernie_ray.text.features import TokenIds
from tests.batcher_calls import infer, limits, wait_until
from tests.fake_text_model import FakeTextModel, manifest


def test_a_full_queue_refuses_with_the_time_to_drain():
    gate = threading.Event()
    gate.set()

    async def run():
        model = FakeTextModel(manifest(), forward_s=0.05, gate=gate)
        batcher = Batcher(model, limits(max_batch_tokens=16, max_queue_tokens=48))
        await infer(batcher, "abcdefgh")  # 10 tokens in at least 0.05 s
        assert 0 < batcher.tokens_per_s <= 200
        gate.clear()
        asked = [asyncio.create_task(infer(batcher, "abcdefgh"))]
        await wait_until(lambda: len(model.batches) == 2)
        asked += [asyncio.create_task(infer(batcher, "abcdefgh")) for _ in range(4)]
        await wait_until(lambda: batcher.num_queued_tokens == 40)
        with pytest.raises(OverloadedError, match="40 tokens are waiting") as caught:
            await infer(batcher, "abcdefgh")
        assert caught.value.retry_after_s == pytest.approx(40 / batcher.tokens_per_s)
        gate.set()
        await asyncio.gather(*asked)
        await infer(batcher, "abcdefgh")
        await batcher.close()

    asyncio.run(run())


def test_a_full_queue_refuses_before_any_text_is_cut():
    gate = threading.Event()

    async def run():
        model = FakeTextModel(manifest(), gate=gate)
        batcher = Batcher(model, limits(max_batch_tokens=16, max_queue_tokens=40))
        asked = [asyncio.create_task(infer(batcher, "a"))]
        await wait_until(lambda: len(model.batches) == 1)
        asked += [asyncio.create_task(infer(batcher, "abcdefgh")) for _ in range(4)]
        await wait_until(lambda: batcher.num_queued_tokens == 40)
        model.tokenize = None  # to call it now would be a TypeError
        with pytest.raises(OverloadedError, match="40 tokens are waiting"):
            await batcher.tokenize(["a"])
        gate.set()
        await asyncio.gather(*asked)
        await batcher.close()

    asyncio.run(run())


def test_texts_that_wait_for_the_tokenizer_are_bounded_too():
    gate = threading.Event()

    class SlowTokenizer(FakeTextModel):
        def tokenize(self, texts):
            gate.wait(10)
            return super().tokenize(texts)

    async def run():
        batcher = Batcher(SlowTokenizer(manifest()), limits(max_queue_tokens=40))
        first = asyncio.create_task(batcher.tokenize(["a" * 500]))  # more than that, but alone
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="500 characters wait"):
            await batcher.tokenize(["a" * 150])
        gate.set()
        assert len(await first) == 1
        await batcher.close()

    asyncio.run(run())


def test_requests_that_never_fit_are_refused_for_good():
    async def run():
        batcher = Batcher(FakeTextModel(manifest()), limits(max_queue_tokens=40))
        with pytest.raises(RequestTooLargeError, match="the queue holds 40"):
            await infer(batcher, *["abcdefgh"] * 5)
        with pytest.raises(TextTooLongError, match="text 1 has 17 tokens"):
            await batcher.infer([TokenIds([1], [0]), TokenIds([1] * 17, [0] * 17)])
        assert batcher.num_queued_tokens == 0
        await batcher.close()

    asyncio.run(run())


def test_a_budget_smaller_than_the_longest_text_is_a_configuration_error():
    with pytest.raises(ConfigError, match="max_batch_tokens=15 cannot hold"):
        Batcher(FakeTextModel(manifest(max_tokens=16)), limits(max_batch_tokens=15))


def test_closing_finishes_what_is_inside_and_refuses_the_rest():
    async def run():
        model = FakeTextModel(manifest(), forward_s=0.01)
        batcher = Batcher(model, limits())
        asked = asyncio.create_task(infer(batcher, *["abcdef"] * 12))
        await wait_until(lambda: len(model.batches) == 1)
        await batcher.close()
        await asyncio.sleep(0)
        assert asked.done()
        assert len((await asked).vectors) == 12
        with pytest.raises(UnavailableError, match="shutting down"):
            await batcher.infer([TokenIds([1], [0])])

    asyncio.run(run())
