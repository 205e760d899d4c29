"""What tests of the batcher do with it."""

import asyncio

from ernie_ray.inference.grouping import BatchLimits


def limits(**changes):
    """Small batches, whatever they take."""
    return BatchLimits(**{"max_batch_tokens": 32, "max_batch_s": 1e6, **changes})


async def infer(batcher, *texts):
    """One request of some texts."""
    return await batcher.infer(await batcher.tokenize(texts))


async def wait_until(condition):
    """Leave the loop to others until something holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never happened")
