import asyncio
import threading
import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_ray.errors import (
    InferenceError,
)
from ernie_ray.inference.batcher import Batcher
from ernie_ray.inference.lane_queue import Lane
from ernie_ray.inference.layer_pooling import VectorChoice
from tests.batcher_calls import infer, limits, wait_until
from tests.fake_text_model import FakeTextModel, manifest


def test_each_text_gets_its_own_answer_in_order():
    async def run():
        batcher = Batcher(FakeTextModel(manifest()), limits())
        answers = await infer(batcher, "a", "bcd", "ef")
        assert answers.vectors[:, 0].tolist() == [3, 5, 4]
        assert answers.logits.tolist() == [[7, 3], [5, 5], [6, 4]]
        assert not answers.errors
        await batcher.close()

    asyncio.run(run())


def test_a_model_without_a_head_gives_no_logits():
    async def run():
        batcher = Batcher(FakeTextModel(manifest(has_head=False)), limits())
        assert (await infer(batcher, "a")).logits is None
        await batcher.close()

    asyncio.run(run())


def test_a_free_engine_starts_at_once_and_requests_meanwhile_share_the_next_batch():
    gate = threading.Event()

    async def run():
        model = FakeTextModel(manifest(), gate=gate)
        batcher = Batcher(model, limits())
        first = asyncio.create_task(infer(batcher, "a"))
        await wait_until(lambda: len(model.batches) == 1)
        others = [asyncio.create_task(infer(batcher, "bb")) for _ in range(5)]
        await wait_until(lambda: batcher.num_queued_tokens == 5 * 4)
        gate.set()
        await asyncio.gather(first, *others)
        assert [len(batch) for batch in model.batches] == [1, 5]
        await batcher.close()

    asyncio.run(run())


def test_a_batch_holds_no_more_than_the_engine_did_in_that_time():
    gate = threading.Event()

    async def run():
        model = FakeTextModel(manifest(), gate=gate)
        batcher = Batcher(model, limits(max_batch_s=0.1))
        first = asyncio.create_task(infer(batcher, "a"))
        await wait_until(lambda: len(model.batches) == 1)
        others = [asyncio.create_task(infer(batcher, "bb")) for _ in range(5)]
        await asyncio.sleep(0.05)  # 3 tokens take as long or longer, so 8 would take too long
        gate.set()
        await asyncio.gather(first, *others)
        assert len(model.batches[1]) == 1
        assert sum(map(len, model.batches)) == 6
        await batcher.close()

    asyncio.run(run())


def test_requests_of_one_turn_of_the_loop_share_a_batch():
    async def run():
        model = FakeTextModel(manifest())
        batcher = Batcher(model, limits())
        await asyncio.gather(*(infer(batcher, "bb") for _ in range(4)))
        assert [len(batch) for batch in model.batches] == [4]
        await batcher.close()

    asyncio.run(run())


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=9), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_every_text_is_answered_once_and_no_batch_passes_the_budget(requests, num_slots):
    async def run():
        model = FakeTextModel(manifest())
        batcher = Batcher(model, limits(num_slots=num_slots))
        texts = [
            [chr(97 + i) + "z" * (length - 1) for length in lengths]
            for i, lengths in enumerate(requests)
        ]
        answers = await asyncio.gather(*(infer(batcher, *group) for group in texts))
        await batcher.close()
        for group, answer in zip(texts, answers, strict=True):
            expected = [sum(row.input_ids) for row in model.tokenize(group)]
            assert answer.vectors[:, 1].tolist() == expected
        assert sum(map(len, model.batches)) == sum(map(len, texts))
        for batch in model.batches:
            assert max(map(len, batch)) * len(batch) <= 32
        assert batcher.num_queued_tokens == 0

    asyncio.run(run())


def test_a_request_of_many_texts_is_split():
    async def run():
        model = FakeTextModel(manifest())
        batcher = Batcher(model, limits())
        answers = await infer(batcher, *["abcdef"] * 20)
        assert answers.vectors[:, 0].tolist() == [8] * 20
        assert [len(batch) for batch in model.batches] == [4] * 5
        await batcher.close()

    asyncio.run(run())


def test_one_bad_text_fails_alone():
    async def run():
        model = FakeTextModel(manifest())
        batcher = Batcher(model, limits(max_batch_tokens=64))
        good, bad = await asyncio.gather(infer(batcher, "a", "bb"), infer(batcher, "c", "dX", "e"))
        assert good.vectors[:, 0].tolist() == [3, 4]
        assert list(bad.errors) == [1]
        assert isinstance(bad.errors[1], InferenceError)
        assert bad.vectors[:, 0].tolist() == [3, 0, 3]
        again = await infer(batcher, "f")
        assert again.vectors[0, 0] == 3
        await batcher.close()

    asyncio.run(run())


def test_a_broken_engine_is_not_asked_for_every_text():
    async def run():
        model = FakeTextModel(manifest())
        batcher = Batcher(model, limits(max_batch_tokens=64))
        answers = await infer(batcher, *["X"] * 10)
        assert len(answers.errors) == 10
        assert [len(batch) for batch in model.batches] == [10, 1, 1]
        await batcher.close()

    asyncio.run(run())


def test_nan_is_an_error_of_its_text_only():
    async def run():
        batcher = Batcher(FakeTextModel(manifest()), limits())
        answers = await infer(batcher, "a", "N", "b")
        assert list(answers.errors) == [1]
        assert "NaN" in str(answers.errors[1])
        assert np.isfinite(answers.vectors).all()
        await batcher.close()

    asyncio.run(run())


def test_cancelled_requests_leave_the_queue():
    gate = threading.Event()

    async def run():
        model = FakeTextModel(manifest(), gate=gate)
        batcher = Batcher(model, limits())
        first = asyncio.create_task(infer(batcher, "a"))
        await wait_until(lambda: len(model.batches) == 1)
        gone = asyncio.create_task(infer(batcher, "bb", "cc"))
        stays = asyncio.create_task(infer(batcher, "ddd"))
        await wait_until(lambda: batcher.num_queued_tokens == 4 + 4 + 5)
        gone.cancel()
        await wait_until(lambda: batcher.num_queued_tokens == 5)
        first.cancel()  # it runs already: its answer goes nowhere, and hurts nobody
        gate.set()
        assert (await stays).vectors[0, 0] == 5
        assert [len(batch) for batch in model.batches] == [1, 1]
        await batcher.close()

    asyncio.run(run())


def test_interactive_requests_go_before_bulk_ones():
    gate = threading.Event()

    async def run():
        model = FakeTextModel(manifest(), gate=gate)
        batcher = Batcher(model, limits(max_batch_tokens=16))
        first = asyncio.create_task(infer(batcher, "a"))
        await wait_until(lambda: len(model.batches) == 1)
        row = (await batcher.tokenize(["abcdefghi"]))[0]
        bulk = asyncio.create_task(batcher.infer([row] * 3, lane=Lane.BULK))
        await wait_until(lambda: batcher.num_queued_texts == 3)
        hurry = asyncio.create_task(infer(batcher, "abcdefgh"))
        await wait_until(lambda: batcher.num_queued_texts == 4)
        gate.set()
        await asyncio.gather(first, bulk, hurry)
        assert [len(batch[0]) for batch in model.batches] == [3, 10, 11, 11, 11]
        await batcher.close()

    asyncio.run(run())


def test_a_batch_is_reported_with_its_padding():
    reports = []

    async def run():
        batcher = Batcher(FakeTextModel(manifest()), limits(), reports.append)
        await infer(batcher, "a", "bcd")
        assert batcher.busy_s > 0
        await batcher.close()

    asyncio.run(run())
    (report,) = reports
    assert (report.num_texts, report.num_tokens, report.num_padded_tokens) == (2, 8, 10)
    assert report.wait_s >= 0
    assert report.forward_s > 0


def test_a_vector_of_another_layer_and_the_models_own_share_a_batch():
    async def run():
        model = FakeTextModel(manifest())
        batcher = Batcher(model, limits())
        row = (await batcher.tokenize(["ab"]))[0]
        plain, chosen, tokens = await asyncio.gather(
            batcher.infer([row]),
            batcher.infer([row], choice=VectorChoice("mean_max", ("layer_2",))),
            batcher.infer([row, row], choice=VectorChoice("none", ("layer_1", "layer_2"))),
        )
        assert len(model.batches) == 1
        assert plain.vectors[0, 0] == 4
        # Token i of a layer holds its id, then i: see FakeTextModel.
        assert chosen.vectors.shape == (1, 8)
        assert chosen.vectors[0, [0, 1, 4, 5]].tolist() == [49.5, 1.5, 98, 3]
        assert [one.shape for one in tokens.vectors] == [(4, 8), (4, 8)]
        assert tokens.logits.shape == (2, 2)
        await batcher.close()

    asyncio.run(run())


def test_long_texts_are_cut_off_the_event_loop():
    class SlowTokenizer(FakeTextModel):
        def tokenize(self, texts):
            time.sleep(0.2)
            assert threading.current_thread() is not threading.main_thread()
            return super().tokenize(texts)

    async def run():
        batcher = Batcher(SlowTokenizer(manifest()), limits())
        task = asyncio.create_task(batcher.tokenize(["long " * 200]))
        started_s = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - started_s < 0.1
        assert (await task)[0].is_truncated
        await batcher.close()

    asyncio.run(run())


def test_two_slots_run_at_the_same_time():
    gate = threading.Event()

    async def run():
        model = FakeTextModel(manifest(), gate=gate)
        batcher = Batcher(model, limits(num_slots=2))
        asked = asyncio.create_task(infer(batcher, *["abcdef"] * 12))
        await wait_until(lambda: len(model.batches) == 2)
        gate.set()
        await asked
        await batcher.close()

    asyncio.run(run())
