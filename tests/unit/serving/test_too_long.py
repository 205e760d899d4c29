"""What a client is told when the model's limit is not that of a whole text."""

import asyncio

import pytest

from ernie_ray.errors import TextTooLongError
from ernie_ray.modeldir import BowConfig, ReadingSpec
from ernie_ray.serving.ask import Ask
from ernie_ray.serving.local_runner import LocalRunner
from tests.fake_text_model import FakeTextModel, manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"task": ReadingSpec()},
            "the question of text 0 exceeds its half of a window of 16 tokens",
        ),
        (
            {"network": BowConfig(vocab_size=1000, embedding_size=4, is_pair=True)},
            "one text of pair 0 has more than 8 tokens, its half of 16",
        ),
        ({}, "text 0 has more than 16 tokens"),
    ],
    ids=["reader", "student of pairs", "encoder"],
)
def test_a_text_that_is_too_long_is_told_the_limit_that_holds_for_it(change, message):
    async def run():
        runner = LocalRunner(FakeTextModel(manifest().model_copy(update=change)))
        try:
            await runner.run(Ask(texts=[("q" * 20, "context")]))
        finally:
            await runner.close()

    with pytest.raises(TextTooLongError, match=message):
        asyncio.run(run())
