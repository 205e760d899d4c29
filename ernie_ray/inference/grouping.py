"""Choose which waiting texts form the next batch: alike in length, and nobody overtaken for long.

Pure functions over lengths in tokens; knows neither asyncio nor engines.

A batch costs its padded tokens: the longest text times the number of texts. The oldest text that
waits is in every batch, and those nearest to it in length join while the padding stays small. A
text that `max_overtakes` batches with younger texts have passed over ends the grouping: batches
are then cut in order of arrival until it has gone. So at most `max_overtakes` batches ever
overtake a text.

Texts that are all there are cut by the same bounds, in order of length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field


class BatchLimits(BaseModel):
    """Bounds of one model's queue and batches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch_tokens: int = Field(
        default=2048,
        gt=0,
        description="Padded tokens of one batch (longest text times count); at least the model's "
        "max_tokens. CPUs are saturated by 300 to 1,000; GPUs want 16,384 and more.",
    )
    max_batch_s: float = Field(
        default=0.1,
        gt=0,
        description="Seconds that a batch of several texts may take, at the pace measured so far: "
        "who comes during one waits no longer for the next. A single text takes what it takes.",
    )
    max_queue_tokens: int = Field(
        default=262_144, gt=0, description="Tokens that may wait; a request beyond it is refused."
    )
    max_overtakes: int = Field(
        default=32,
        ge=0,
        description="Batches with younger texts that may pass a text over; 0: no grouping.",
    )
    window_texts: int = Field(
        default=512, gt=0, description="Oldest waiting texts among which a batch is chosen."
    )
    free_padding_tokens: int = Field(
        default=64,
        ge=0,
        description="Padding accepted in any batch, in tokens: about what starting one more batch "
        "costs (1 ms on a CPU; a few thousand tokens on a GPU).",
    )
    max_padding_share: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="Padding accepted beyond that, as a share of the batch.",
    )
    bulk_delay_s: float = Field(
        default=2.0,
        ge=0,
        description="A bulk text waits as if it had come so many seconds later, so that "
        "interactive texts go first until it has aged as long.",
    )
    num_slots: int = Field(default=1, gt=0, description="Forwards that run at the same time.")


def allowed_padding(padded_tokens: int, limits: BatchLimits) -> float:
    """Tokens of padding that a batch of so many padded tokens may hold."""
    return max(limits.free_padding_tokens, limits.max_padding_share * padded_tokens)


def choose_batch(
    lengths: Sequence[int],
    overtakes: Sequence[int],
    limits: BatchLimits,
    budget: float = math.inf,
) -> list[int]:
    """Choose the next batch from what waits.

    Args:
        lengths: Tokens of each waiting text, oldest first; at least one.
        overtakes: How many batches with younger texts have passed each of them over.
        limits: Bounds of a batch.
        budget: Padded tokens of this batch, where that is less than ``limits`` allow.

    Returns:
        Positions in ``lengths``, ascending, never empty. The first text is always among them,
        even if it alone is longer than the budget.
    """
    budget = min(budget, limits.max_batch_tokens)
    if max(overtakes) >= limits.max_overtakes:
        return _in_order_of_arrival(lengths, budget)
    return _nearest_in_length(lengths, limits, budget)


def batches_by_length(lengths: Sequence[int], limits: BatchLimits) -> Iterator[list[int]]:
    """Cut texts that are all there into batches of similar lengths, the shortest first.

    Args:
        lengths: Tokens of each text.
        limits: Bounds of a batch; a text longer than the budget goes alone.

    Yields:
        Positions in ``lengths``; each is in one batch.
    """
    batch: list[int] = []
    num_tokens = 0
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Ascending lengths: the newest text is the longest, so it sets the padded size.
        padded = lengths[i] * (len(batch) + 1)
        padding = padded - num_tokens - lengths[i]
        if batch and (
            padded > limits.max_batch_tokens or padding > allowed_padding(padded, limits)
        ):
            yield batch
            batch, num_tokens = [], 0
        batch.append(i)
        num_tokens += lengths[i]
    if batch:
        yield batch


def _in_order_of_arrival(lengths: Sequence[int], budget: float) -> list[int]:
    longest = 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if longest * (i + 1) > budget:
            return list(range(max(i, 1)))
    return list(range(len(lengths)))


def _nearest_in_length(lengths: Sequence[int], limits: BatchLimits, budget: float) -> list[int]:
    target = longest = total = lengths[0]
    chosen = [0]
    # Once a shorter (or longer) text is refused, those still shorter (longer) would be too.
    takes_shorter = takes_longer = True
    # The sort is stable, so among equally distant texts the older one goes first.
    for i in sorted(range(1, len(lengths)), key=lambda i: abs(lengths[i] - target)):
        length = lengths[i]
        if not (takes_shorter if length < target else takes_longer):
            continue
        if longest * (len(chosen) + 1) > budget:
            break
        padded = max(longest, length) * (len(chosen) + 1)
        padding = padded - total - length
        if padded > budget or padding > allowed_padding(padded, limits):
            takes_shorter = takes_shorter and length >= target
            takes_longer = takes_longer and length < target
            continue
        chosen.append(i)
        longest = max(longest, length)
        total += length
    return sorted(chosen)
